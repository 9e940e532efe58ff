from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runners import packing
from runners.batches import training_batches
from runners.data import DataSet, Range, Split
from runners.objective.examples import IGNORE, next_token
from runners.objective.multi_token import MultiToken
from runners.tokens import TokenWriter

END = 9_999
T = 16


def documents(folder: Path, sizes: dict[str, list[int]]) -> DataSet:
    """Documents of so many tokens after their first, each token a number of its own."""
    ranges, number = {}, 10_000
    writer = TokenWriter(folder, "train", np.dtype("<u2"), 97)
    with writer:
        for source, of_source in sizes.items():
            before = writer.tokens
            for size in of_source:
                writer.append(np.array([END, *range(number, number + size)]))
                number += size
            ranges[source] = Range(before, writer.tokens - before, len(of_source), 0)
    split = Split(folder, "train", ranges, np.dtype("<u2"), 97)
    return DataSet("set", folder, split, split, dict.fromkeys(sizes), {}, END)


def one_at_a_time(sizes: list[int], capacity: int) -> list[int]:
    """Room left in the bins of best-fit decreasing, as it is defined (Johnson 1974), sorted."""
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - size)
    return sorted(rooms)


@given(st.lists(st.integers(1, 17), max_size=300))
@settings(max_examples=60, deadline=None)
def test_many_at_once_are_packed_as_one_at_a_time(sizes: list[int]) -> None:
    bins = packing.best_fit(np.array(sizes, np.int64), 17)
    filled = np.bincount(bins, weights=sizes)
    assert sorted((17 - filled).tolist()) == one_at_a_time(sizes, 17)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60), st.lists(st.integers(1, 60), min_size=1, max_size=20))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_token_is_asked_for_once_an_epoch(
    tmp_path_factory: pytest.TempPathFactory, one: list[int], other: list[int]
) -> None:
    data = documents(tmp_path_factory.mktemp("set"), {"a": [*one, 1], "b": other})
    rows = packing.packed(data, None, T)
    found = torch.from_numpy(rows.rows(np.arange(len(rows))))
    examples = next_token(found)
    targets = examples.targets[examples.targets != IGNORE]
    count = sum(one) + 1 + sum(other)
    assert sorted(targets[targets != END].tolist()) == list(range(10_000, 10_000 + count))
    assert examples.count == len(targets)
    assert int(examples.ids.min()) >= END
    longer = torch.unique(examples.ids[:, 0][examples.ids[:, 0] != END])
    assert len(longer) <= sum(size >= T for size in (*one, *other)) * 4


def test_a_document_that_fits_is_whole_and_one_that_does_not_goes_on_in_another_row(tmp_path: Path) -> None:
    rows = packing.packed(documents(tmp_path, {"a": [40, 5, 3]}), None, T)
    found = [rows.rows(np.array([number]))[0].tolist() for number in range(len(rows))]
    assert found == [
        [END, *range(10_000, 10_016)],
        list(range(10_015, 10_032)),
        # The rest first: a token that was asked for is read again, and the 5 that fit after it are whole.
        [END, ~10_031, *range(10_032, 10_040), END, *range(10_040, 10_045), END],
        [END, *range(10_045, 10_048), END, *[~END] * 12],
    ]


def test_the_packing_is_made_once_and_each_source_has_its_own_rows(tmp_path: Path) -> None:
    data = documents(tmp_path, {"a": [40, 5, 3], "b": [2, 2]})
    packing.packed(data, "a", T)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("packed-*/*")}
    assert len(stamps) == 4
    rows = packing.packed(data, "b", T)
    assert len(rows) == 1
    assert rows.rows(np.array([0]))[0].tolist()[:7] == [END, 10_048, 10_049, END, 10_050, 10_051, END]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("packed-*/*")} == stamps
    batches = training_batches(data, 7, T, 5, packing="best_fit")
    assert batches.batch(0).unique(dim=0).shape == (5, T + 1)
    assert batches.epochs(2) == {"": 2.0}


def test_what_is_not_asked_for_is_no_target_at_any_depth() -> None:
    rows = torch.tensor([[END, 5, ~6, 7, ~END]])
    examples = MultiToken((1.0, 0.5)).examples(rows, [])
    assert examples.ids.tolist() == [[END, 5, 6, 7]]
    assert examples.targets[0].T.tolist() == [[5, IGNORE, 7, IGNORE], [IGNORE, 7, IGNORE, IGNORE]]
    assert examples.count == 2
