"""Experts on several ranks train as all of them do in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners.layout import Layout
from tests.engines import reference
from tests.engines.curves import check, largest, named, plain_curve, resumed
from tests.engines.reference import ROWS, STEPS

EXPERTS = "kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 64, num_shared_experts: 1"
HALVES = ((0, 2), (2, 4))
KINDS = {
    "dropless": "balancing: {kind: none}",
    "loss": "balancing: {kind: loss, coefficient: 0.05}",
    "bias": "balancing: {kind: bias, update_rate: 0.01}",
    "capacity": "balancing: {kind: none}, capacity_factor: 1.0",
    "biases": "balancing: {kind: none}, bias: true, activation: clamped_swiglu",
}
TWO = Layout(shard=2, expert=2)


def compiled(folder: Path, kind: str) -> Path:
    return reference.compiled(folder, f"model.ffn={{{EXPERTS}, {KINDS[kind]}}}")


def test_experts_divided_among_two_ranks_follow_the_curve_of_one_process(tmp_path: Path) -> None:
    plan = compiled(tmp_path, "loss")
    check(plan, plain_curve(plan, 8, micro=2), TWO, 8, micro_batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["loss", "bias"])
@pytest.mark.parametrize(
    "layout",
    [
        Layout(shard=2, expert=2, zero_stage=3),
        Layout(shard=2, replicate=2, expert=2),
        Layout(shard=4, expert=2, zero_stage=3),
        Layout(context=2, expert=2),
        Layout(shard=4, expert=4, zero_stage=1),
    ],
    ids=named,
)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_divided_experts_follow_the_curve_of_one_process(
    kind: str, layout: Layout, accumulation: int, tmp_path: Path
) -> None:
    plan, micro = compiled(tmp_path, kind), ROWS // layout.shard // layout.replicate // accumulation
    check(plan, plain_curve(plan, STEPS, micro), layout, micro_batch_size=micro)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dropless", "capacity", "biases"])
def test_what_experts_do_with_tokens_is_the_same_where_they_are_divided(kind: str, tmp_path: Path) -> None:
    plan = compiled(tmp_path, kind)
    check(plan, plain_curve(plan, 12), TWO, 12, micro_batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [0, 3])
def test_experts_are_divided_within_the_pieces_of_a_pipeline(zero_stage: int, tmp_path: Path) -> None:
    plan = compiled(tmp_path, "bias")
    layout = Layout(pipeline=2, shard=2, expert=2, zero_stage=zero_stage, stages=HALVES)
    check(plan, plain_curve(plan, 12), layout, 12, micro_batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("after", [TWO, Layout(), Layout(shard=2, expert=2, zero_stage=3)], ids=named)
def test_divided_experts_go_on_from_a_checkpoint(after: Layout, tmp_path: Path) -> None:
    whole, rest = resumed(tmp_path / "run", compiled(tmp_path, "bias"), TWO, after, micro_batch_size=2)
    if after == TWO:
        assert [one.weights for one in rest] == [one.weights for one in whole]
        assert rest[0].losses == whole[0].losses[3:]
    assert largest(rest[0].losses, whole[0].losses[3:]) <= 1e-6
