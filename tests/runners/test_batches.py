from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runners.batches import training_batches, validation_windows
from runners.curriculum import Curriculum, Phase
from runners.data import DataSet, Range, Split, prepare
from runners.errors import RunError
from runners.mixture import PERIOD, mixture
from runners.permutation import permute
from tests.runners import former_order

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

KEY = (1, 2, 3, 4, 5, 6)


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(max_examples=30, deadline=None)
def test_a_permutation_visits_each_position_once(size: int, key: int) -> None:
    images = permute(np.arange(size), size, (key, *KEY)).tolist()
    assert sorted(images) == list(range(size))
    assert images[:50] == [former_order.permute(position, size, (key, *KEY)) for position in range(min(size, 50))]


def test_a_permutation_leaves_no_order_behind() -> None:
    images = permute(np.arange(5000), 5000, KEY)
    assert abs(np.corrcoef(np.arange(5000), images)[0, 1]) < 0.05
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.05


def test_a_batch_is_a_function_of_seed_and_step_alone(experiment: Experiment) -> None:
    data = prepare(experiment.folder, experiment.manifest, "corpus")
    one, other = (training_batches(data, 7, 32, 8) for _ in range(2))
    late = one.batch(1000)
    for step in range(3):
        assert one.batch(step).shape == (8, 33)
        assert torch.equal(one.batch(step), other.batch(step))
    assert torch.equal(other.batch(1000), late)
    assert torch.equal(torch.cat([one.batch(5, 0, 3), one.batch(5, 3, 8)]), one.batch(5))
    assert not torch.equal(training_batches(data, 8, 32, 8).batch(0), one.batch(0))


def counting(sizes: dict[str, int], weights: dict[str, float | None], folder: Path, per_shard: int = 65_536) -> DataSet:
    """A data set whose tokens count up, so that a window tells where it came from."""
    tokens, ranges = 0, {}
    for name, size in sizes.items():
        ranges[name] = Range(tokens, size, 1, size)
        tokens += size
    for number, start in enumerate(range(0, tokens, per_shard)):
        np.arange(start, min(start + per_shard, tokens), dtype="<u2").tofile(folder / f"train-{number:05}.bin")
    split = Split(folder, "train", ranges, np.dtype("<u2"), per_shard)
    return DataSet("set", folder, split, split, weights, {}, 65_535)


@given(st.integers(0, 2**32), st.lists(st.integers(11, 900), min_size=1, max_size=4), st.integers(1, 9000))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_is_that_which_was_computed_one_sequence_at_a_time(
    tmp_path: Path, seed: int, sizes: list[int], step: int
) -> None:
    named = dict(zip("abcd", sizes, strict=False))
    per_period = dict(
        zip("abcd", [[PERIOD], [2500, 7500], [1, 9, 9990], [1, 2, 3, 9994]][len(sizes) - 1], strict=False)
    )
    data = counting(named, {name: share / PERIOD for name, share in per_period.items()}, tmp_path, per_shard=97)
    found = training_batches(data, seed, 10, 8).batch(step)
    for row, index in zip(found[:2], range(8 * step, 8 * step + 2), strict=True):
        name, position = former_order.place(seed, index, per_period)
        number = former_order.window(seed, name, position, (named[name] - 1) // 10)
        start = data.train.ranges[name].start + 10 * number
        assert row.tolist() == list(range(start, start + 11))


def test_an_epoch_visits_each_window_once_and_the_next_in_another_order(tmp_path: Path) -> None:
    batches = training_batches(counting({"a": 401}, {"a": 1.0}, tmp_path), 7, 10, 40)
    first, second = (batches.batch(step)[:, 0].tolist() for step in range(2))
    assert sorted(first) == sorted(second) == list(range(0, 400, 10))
    assert first != second


def test_sources_are_mixed_by_weight_exactly_over_a_period(tmp_path: Path) -> None:
    data = counting({"a": 1001, "b": 3001, "c": 11}, {"a": 0.62, "b": 0.3799, "c": 0.00001}, tmp_path)
    batches = training_batches(data, 7, 10, PERIOD)
    starts = batches.batch(1)[:, 0].numpy()
    counts = [int(((starts >= low) & (starts < high)).sum()) for low, high in [(0, 1001), (1001, 4002), (4002, 5000)]]
    assert sum(counts) == PERIOD
    assert counts == pytest.approx([6200, 3799, 1], abs=1)
    near = batches.batch(0)[:200, 0].numpy()
    assert 90 < int((near < 1001).sum()) < 160


def test_sources_without_weights_are_one_stream_and_half_given_weights_are_refused(tmp_path: Path) -> None:
    data = counting({"a": 101, "b": 300}, {"a": None, "b": None}, tmp_path)
    assert sorted(training_batches(data, 7, 10, 40).batch(0)[:, 0].tolist()) == list(range(0, 400, 10))
    with pytest.raises(RunError, match="`b` has no weight, and `a` has one"):
        training_batches(dataclasses.replace(data, weights={"a": 1.0, "b": None}), 7, 10, 40)
    with pytest.raises(RunError, match="fewer than one sequence"):
        training_batches(data, 7, 500, 40)


def test_a_weight_of_null_is_no_weight(experiment: Experiment, corpus: Path) -> None:
    def batches(*weights: float | None) -> list[int]:
        paths = (f"{corpus}/part0/*.py", f"{corpus}/part[12]/*.py")
        sources = {
            name: {"path": path, "weight": weight} for name, path, weight in zip("ab", paths, weights, strict=True)
        }
        data = {"set": {"sources": sources, "holdout": {"fraction": 0.1}}}
        found = prepare(experiment.folder, dataclasses.replace(experiment.manifest, data=data), "set")
        return list(training_batches(found, 7, 32, 4).mixture.parts[0].shares)

    assert batches(None, None) == [PERIOD]
    assert batches(3.0, 1.0) == [7500, 2500]
    for weights in ((None, 1.0), (1.0, None)):
        with pytest.raises(RunError, match="give all a weight, or none"):
            batches(*weights)


def test_validation_windows_are_fixed_and_spread_over_the_held_out_tokens(tmp_path: Path) -> None:
    data = counting({"a": 1001}, {"a": None}, tmp_path)
    assert validation_windows(data, 10, 4)[:, 0].tolist() == [0, 330, 660, 990]
    assert len(validation_windows(data, 10, 10_000)) == 100


@given(st.integers(1, 25_000), st.integers(1, 25_000), st.lists(st.floats(0.001, 1), min_size=6, max_size=6))
@settings(max_examples=10, deadline=None)
def test_sources_are_counted_on_over_phases_and_nothing_is_passed_over(
    first: int, second: int, drawn: list[float]
) -> None:
    weights = [dict(zip("ab", pair, strict=True)) for pair in (drawn[:2], drawn[2:4], drawn[4:])]
    found = mixture(7, list(zip((first, first + second, None), weights, strict=True)))
    total = first + second + 777
    sources, positions = found.places(np.arange(total))
    for source in range(2):
        from_there = sources == source
        assert positions[from_there].tolist() == list(range(from_there.sum()))
        for count in (0, first // 2, first, first + second // 3, first + second, total):
            assert found.given(count)[source] == int(from_there[:count].sum())


def test_phases_take_each_source_by_its_weight(tmp_path: Path) -> None:
    data = counting({"a": 20_001, "b": 20_001, "c": 20_001}, {"a": None, "b": None, "c": None}, tmp_path)
    phases = (Phase(100, {"a": 3.0, "b": 1.0}), Phase(None, {"c": 1.0}))
    batches = training_batches(data, 7, 10, 100, curriculum=Curriculum(mixture=phases))
    starts = np.concatenate([batches.batch(step)[:, 0].numpy() for step in range(100)])
    assert int((starts < 20_001).sum()) == 7500
    assert int((starts >= 40_002).sum()) == 0
    assert (batches.batch(100)[:, 0] >= 40_000).all()
    assert batches.epochs(100) == {"": pytest.approx(10_000 / 6000), "a": 3.75, "b": 1.25, "c": 0.0}
    seen = np.concatenate([batches.batch(step)[:, 0].numpy() for step in range(40)])
    of_a = seen[seen < 20_001][:2000]
    assert len(np.unique(of_a)) == 2000, "no window of a source twice before all of them were seen"
    with pytest.raises(RunError, match="names the source `d`, which `set` does not have"):
        training_batches(data, 7, 10, 100, curriculum=Curriculum(mixture=(Phase(None, {"d": 1.0}),)))


def test_an_epoch_is_counted(tmp_path: Path) -> None:
    batches = training_batches(counting({"a": 401}, {"a": 1.0}, tmp_path), 7, 10, 10)
    assert [batches.epochs(step) for step in (0, 1, 4, 6)] == [{"": 0.0}, {"": 0.25}, {"": 1.0}, {"": 1.5}]
