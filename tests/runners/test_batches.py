from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runners.batches import PERIOD, permute, training_batches, validation_windows
from runners.data import DataSet, Range, Split, prepare
from runners.errors import RunError

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

KEY = (1, 2, 3, 4, 5, 6)


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(max_examples=30, deadline=None)
def test_a_permutation_visits_each_position_once(size: int, key: int) -> None:
    images = {permute(position, size, (key, *KEY)) for position in range(size)}
    assert images == set(range(size))


def test_a_permutation_leaves_no_order_behind() -> None:
    images = np.array([permute(position, 5000, KEY) for position in range(5000)])
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


def counting(sizes: dict[str, int], weights: dict[str, float | None], folder: Path) -> DataSet:
    """A data set whose tokens count up, so that a window tells where it came from."""
    np.arange(sum(sizes.values()), dtype="<u2").tofile(folder / "train.bin")
    ranges, start = {}, 0
    for name, size in sizes.items():
        ranges[name] = Range(start, size, 1, size)
        start += size
    split = Split(folder / "train.bin", ranges)
    return DataSet("set", folder, split, Split(folder / "train.bin", ranges), weights, {})


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
        return [stream.per_period for stream in training_batches(found, 7, 32, 4).streams]

    assert batches(None, None) == [PERIOD]
    assert batches(3.0, 1.0) == [7500, 2500]
    for weights in ((None, 1.0), (1.0, None)):
        with pytest.raises(RunError, match="give all a weight, or none"):
            batches(*weights)


def test_validation_windows_are_fixed_and_spread_over_the_held_out_tokens(tmp_path: Path) -> None:
    data = counting({"a": 1001}, {"a": None}, tmp_path)
    assert validation_windows(data, 10, 4)[:, 0].tolist() == [0, 330, 660, 990]
    assert len(validation_windows(data, 10, 10_000)) == 100
