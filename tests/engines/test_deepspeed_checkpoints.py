"""Checkpoints of DeepSpeed: a run goes on bit for bit, and also with another stage, layout, number of ranks, engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runners.layout import Layout
from tests.engines.deepspeed_ranks import continue_alone, save_alone, train
from tests.engines.ranks import on_ranks
from tests.engines.reference import VARIANTS
from tests.engines.test_deepspeed import PADDED, plan_of

pytest.importorskip("deepspeed")

SAVED, STEPS = 4, 8
ACROSS = 1e-6
"""Nats: sums in another order."""


@dataclass(frozen=True)
class Setup:
    """A way to run the same experiment."""

    asked: str
    layout: Layout
    more: tuple[str, ...] = ()

    def plan(self, folder: Path) -> Path:
        return plan_of(folder, self.layout.processes, self.asked, *VARIANTS["alibi"], PADDED, *self.more)


BF16 = ("stages.pretrain.precision=bf16",)
SETUPS = {
    "zero_1": Setup("zero_stage: 1, micro_batch_size: 2", Layout(shard=2, zero_stage=1)),
    "zero_2": Setup("zero_stage: 2, micro_batch_size: 2", Layout(shard=2, zero_stage=2)),
    "zero_3": Setup("zero_stage: 3, micro_batch_size: 2", Layout(shard=2, zero_stage=3)),
    "zero_1_bf16": Setup("zero_stage: 1, micro_batch_size: 2", Layout(shard=2, zero_stage=1), BF16),
    "zero_3_bf16": Setup("zero_stage: 3, micro_batch_size: 2", Layout(shard=2, zero_stage=3), BF16),
    "tensor": Setup(
        "zero_stage: 1, tensor_parallel_size: 2, micro_batch_size: 4",
        Layout(tensor=2, zero_stage=1, by_head=("alibi_slopes",)),
    ),
    "tensor_zero_3": Setup(
        "zero_stage: 3, tensor_parallel_size: 2, micro_batch_size: 4",
        Layout(shard=2, tensor=2, zero_stage=3, by_head=("alibi_slopes",)),
    ),
    "pipeline": Setup(
        "zero_stage: 1, pipeline_parallel_size: 2, micro_batch_size: 2",
        Layout(pipeline=2, zero_stage=1, stages=((0, 2), (2, 4))),
    ),
    "zero_2_of_4": Setup("zero_stage: 2, micro_batch_size: 1", Layout(shard=4, zero_stage=2)),
}


def trained(name: str, folder: Path, resume: Path | None = None) -> tuple[list[dict[str, Any]], Path]:
    """What ranks say of all steps, a checkpoint written on the way; or of the steps after one."""
    setup, run = SETUPS[name], folder / "run"
    plan = setup.plan(folder / f"plan-{name}")
    if resume is None:
        return on_ranks(setup.layout.processes, train, str(plan), setup.layout, STEPS, SAVED, None, str(run)), run
    return on_ranks(setup.layout.processes, train, str(plan), setup.layout, STEPS, None, str(resume)), run


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SETUPS if name != "zero_2_of_4"])
def test_a_resumed_run_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    whole, run = trained(name, tmp_path)
    rest, _ = trained(name, tmp_path, run)
    for before, after in zip(whole, rest, strict=True):
        assert after["losses"] == before["losses"][SAVED:]
        assert after["norms"] == before["norms"][SAVED:]
        assert after["weights"] == before["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrote", "reads"),
    [
        ("zero_2_of_4", "zero_3"),
        ("zero_3", "zero_1"),
        ("zero_1", "tensor"),
        ("tensor_zero_3", "pipeline"),
        ("pipeline", "zero_2_of_4"),
        ("tensor", "tensor_zero_3"),
    ],
)
def test_another_layout_goes_on_with_the_same_curve(wrote: str, reads: str, tmp_path: Path) -> None:
    whole, run = trained(wrote, tmp_path)
    rest, _ = trained(reads, tmp_path, run)
    for said in rest:
        assert said["losses"] == pytest.approx(whole[0]["losses"][SAVED:], abs=ACROSS, rel=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero_2", "zero_3", "tensor", "pipeline"])
def test_pytorch_goes_on_where_deepspeed_stopped(name: str, tmp_path: Path) -> None:
    whole, run = trained(name, tmp_path)
    (losses,) = on_ranks(1, continue_alone, str(tmp_path / f"plan-{name}"), str(run), STEPS)
    assert losses == pytest.approx(whole[0]["losses"][SAVED:], abs=ACROSS, rel=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zero_1", "zero_3", "tensor", "pipeline"])
def test_deepspeed_goes_on_where_pytorch_stopped(name: str, tmp_path: Path) -> None:
    whole, _ = trained(name, tmp_path)
    run = tmp_path / "alone"
    on_ranks(1, save_alone, str(tmp_path / f"plan-{name}"), str(run), SAVED)
    rest, _ = trained(name, tmp_path, run)
    for said in rest:
        assert said["losses"] == pytest.approx(whole[0]["losses"][SAVED:], abs=ACROSS, rel=0)
