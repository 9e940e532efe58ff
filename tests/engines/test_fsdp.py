"""PyTorch's FSDP2: weights, gradients and optimizer states in parts, also with copies of the parts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runners.layout import Layout
from runners.ranks import join, leave
from runners.sampling import generate
from tests.engines.judging import assert_drawn_alike, assert_replicas_agree, assert_same_curve, furthest, trained
from tests.engines.ranks import on_ranks
from tests.engines.reference import LEARNING_RATE, LOSS_TOLERANCE, batch, recipe, rows_of
from tests.engines.training import Case, Seen, built

if TYPE_CHECKING:
    from tests.engines.conftest import Experiment


def test_two_parts_train_as_one_process(experiment: Experiment) -> None:
    plan, plain = experiment("rope", 10)
    cases = [Case(Layout(shard=2, zero_stage=stage), accumulation, 10) for stage, accumulation in ((3, 1), (2, 2))]
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)
        assert_drawn_alike(plan, seen)
        assert elements(seen[0]) < 0.51 * sum(weight.numel() for weight in plain.weights.values())


def elements(seen: Seen) -> int:
    """Of weights that a rank holds at the end."""
    return sum(math.prod(size) for _, _, size in seen.ended)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rope", "alibi"])
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("ranks", [2, 4])
def test_fifty_steps_are_the_same_curve(experiment: Experiment, variant: str, stage: int, ranks: int) -> None:
    plan, plain = experiment(variant)
    layout = Layout(shard=ranks, zero_stage=stage)
    cases = [Case(layout, accumulation) for accumulation in (1, 2, 4) if accumulation * ranks <= 8]
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_copies_of_parts_are_the_same_curve(experiment: Experiment, stage: int) -> None:
    plan, plain = experiment("alibi")
    layout = Layout(replicate=2, shard=2, zero_stage=stage)
    for seen in trained(plan, [Case(layout, accumulation) for accumulation in (1, 2)]):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_first_weights_are_the_same_bits_on_any_number_of_ranks(experiment: Experiment, ranks: int) -> None:
    plan, _ = experiment("rope", 10)
    layout = Layout(shard=ranks, zero_stage=3)
    (seen,) = trained(plan, [Case(layout, steps=0, settings={"global_batch_size": 8 // ranks * ranks})])
    assert_drawn_alike(plan, seen)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["selective", "full"])
def test_recomputed_activations_are_the_same_curve(experiment: Experiment, how: str) -> None:
    plan, plain = experiment("alibi", 10)
    layouts = (Layout(shard=2, zero_stage=3), Layout(replicate=2))
    cases = [Case(layout, 1, 10, {"activation_checkpointing": how}) for layout in layouts]
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)


@pytest.mark.slow
def test_bf16_is_the_curve_of_autocast_in_one_process(experiment: Experiment) -> None:
    """Weights are gathered in bf16, and autocast would have narrowed all but norms: the noise is that of bf16."""
    plan, plain = experiment("alibi", 50, bf16=True)
    layouts = (Layout(replicate=2), Layout(shard=2, zero_stage=3), Layout(shard=2, zero_stage=2))
    for seen in trained(plan, [Case(layout, 2, settings={"precision": "bf16"}) for layout in layouts]):
        assert furthest(seen[0].losses, plain.losses) <= 2e-3


@pytest.mark.slow
def test_compiled_blocks_are_the_same_curve(experiment: Experiment) -> None:
    plan, plain = experiment("rope", 10)
    (seen,) = trained(plan, [Case(Layout(shard=2, zero_stage=3), 2, 10, {"compile": True})])
    assert_same_curve(seen, plain)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 3])
def test_a_model_in_parts_writes_what_a_whole_one_writes(experiment: Experiment, stage: int) -> None:
    """And the steps after it are those that there would have been."""
    plan, plain = experiment("rope", 10)
    (alone,) = on_ranks(1, written, str(plan), Layout())
    for text, losses in on_ranks(2, written, str(plan), Layout(shard=2, zero_stage=stage)):
        assert text == alone[0]
        assert furthest(losses, plain.losses[: len(losses)]) <= LOSS_TOLERANCE


def written(plan: str, layout: Layout) -> tuple[list[int], list[float]]:
    """Ids that a rank writes after five steps, and the losses of these and three more."""
    ranks = join(layout)
    engine = built(Path(plan), Case(layout), ranks)
    cache = recipe(Path(plan)).cache
    assert cache is not None
    losses, text = [], []
    for step in range(8):
        if step == 5:
            assert engine.writes
            with engine.autocast():
                text = generate(engine.model.eval(), cache, batch(77)[:1, :9], 12)[0].tolist()
        losses.append(engine.gradients(rows_of(batch(step), ranks.data_rank, ranks.data_size))[0])
        engine.update(LEARNING_RATE)
    leave(ranks)
    return text, losses
