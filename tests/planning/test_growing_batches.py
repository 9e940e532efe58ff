"""Batches that grow: steps against Megatron-LM's own calculator, the same tokens, and the sums that are told."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest

from runners.batch_sizes import BatchSizes
from specc import driver
from specc.ir.batches import even_ramp, ramp
from tests.compiling import TINY, files, module, planned

SCHEDULE = "stages.pretrain.batch_size_schedule={start: %s, increment: %s, duration: %s}"


def megatron(start: int, increment: int, final: int, samples: int, steps: int) -> list[int]:
    """Batch of each step by `RampupBatchsizeNumMicroBatchesCalculator.update` of Megatron-LM."""
    per_increment = samples / ((final - start) / increment)
    consumed, sizes = 0, []
    for _ in range(steps):
        size = final if consumed > samples else start + int(consumed / per_increment) * increment
        sizes.append(min(size, final))
        consumed += sizes[-1]
    return sizes


@pytest.mark.parametrize(
    ("start", "increment", "final", "samples"), [(32, 32, 256, 5000), (16, 8, 64, 1000), (2, 2, 8, 3), (4, 4, 8, 64)]
)
def test_a_ramp_is_megatrons(start: int, increment: int, final: int, samples: int) -> None:
    phases = tuple(ramp(start, increment, final, Fraction(samples)))
    sizes = BatchSizes(final, phases)
    count = sum(steps for steps, _ in phases) + 20
    assert [sizes.size(step) for step in range(count)] == megatron(start, increment, final, samples, count)
    seen = 0
    for step in range(count):
        assert sizes.first(step) == seen
        seen += sizes.size(step)


def test_a_ramp_of_steps_has_phases_of_equal_length() -> None:
    assert list(even_ramp(2, 2, 8, 9)) == [(3, 2), (3, 4), (3, 6)]
    assert list(even_ramp(2, 2, 8, 10)) == [(3, 2), (3, 4), (4, 6)]
    assert list(even_ramp(2, 2, 8, 2)) == [(1, 4), (1, 6)]


@pytest.mark.parametrize("tokens", [2_000_000, 200_000, 131_072])
@pytest.mark.parametrize("length", ["30K tokens", "300 sequences", "17 steps"])
def test_a_stage_with_growing_batches_sees_the_tokens_that_are_written(tokens: int, length: str) -> None:
    plan = planned(f"stages.pretrain.duration={tokens} tokens", SCHEDULE % ("2 sequences", "2 sequences", length))
    work = plan.experiment.stage("pretrain").work
    assert work.steps is not None  # type: ignore[union-attr]
    sizes, wanted = BatchSizes(8, work.phases), ceil(tokens / 128)  # type: ignore[union-attr]
    assert sizes.first(work.steps - 1) < wanted <= sizes.first(work.steps)  # type: ignore[union-attr]
    assert work.tokens == sizes.first(work.steps) * 128  # type: ignore[union-attr]
    assert plan.stage("pretrain").tokens == work.tokens  # type: ignore[union-attr]


def test_a_warm_up_in_tokens_counts_the_smaller_batches_and_a_decay_the_whole_ones() -> None:
    schedule = "stages.pretrain.schedule={kind: wsd, warmup: 5120 tokens, decay: 5120 tokens}"
    work = planned(schedule, SCHEDULE % ("2 sequences", "2 sequences", "30 steps")).experiment.stage("pretrain").work
    # 5,120 tokens are 40 sequences: 10 steps of 2 and 5 of 4, or 5 of 8.
    assert (work.warmup_steps, work.decay_steps) == (15, 5)  # type: ignore[union-attr]


def test_the_program_says_the_phases_and_reads_each_sequence_once(tmp_path: Path) -> None:
    text = files(planned(SCHEDULE % ("2 sequences", "2 sequences", "9 steps")))["train.py"]
    settings = module(text.replace("from model import Cache, Model", ""), tmp_path, "program").PRETRAINING
    assert settings.batch_sizes == ((3, 2), (3, 4), (3, 6))
    batches = settings.batches
    numbers = [n for step in range(12) for n in range(batches.first(step), batches.first(step) + batches.size(step))]
    assert numbers == list(range(3 * (2 + 4 + 6) + 3 * 8))
    assert settings.micro_batch_size == 2


def test_an_identity_changes_with_the_schedule_and_not_without_one() -> None:
    keys = [
        driver.check(TINY, sets).plan.experiment.stage("pretrain").key  # type: ignore[union-attr]
        for sets in ((), (SCHEDULE % ("2 sequences", "2 sequences", "9 steps"),), ("stages.pretrain.z_loss=0.0",))
    ]
    assert keys[0] == keys[2] != keys[1]
