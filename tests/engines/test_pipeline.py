"""Pieces of a model on several ranks train as the whole of it does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.engines import build
from runners.errors import RunError
from runners.layout import Layout
from runners.ranks import Ranks
from tests.engines import reference
from tests.engines.curves import CPU, check, largest, named, plain_curve, resumed, train
from tests.engines.ranks import on_ranks
from tests.engines.reference import ROWS, STEPS, VARIANTS
from tests.engines.test_context import RING, SLOPES, SPLITS

HALVES, QUARTERS = ((0, 2), (2, 4)), ((0, 1), (1, 2), (2, 3), (3, 4))
UNEVEN = ((0, 3), (3, 4))
TWO = Layout(pipeline=2, stages=HALVES)
INTERLEAVED = Layout(pipeline=2, stages=QUARTERS, schedule="interleaved_1f1b")
FOUR = Layout(pipeline=4, stages=QUARTERS)


def test_a_pipeline_of_two_pieces_follows_the_curve_of_one_process(tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *VARIANTS["alibi"])  # tied
    check(plan, plain_curve(plan, 8), TWO, 8, micro_batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rope", "alibi"])
@pytest.mark.parametrize(
    ("layout", "accumulation"),
    [
        (replace(TWO, schedule="gpipe"), 1),
        (replace(TWO, schedule="gpipe", stages=UNEVEN), 4),
        (TWO, 2),
        (TWO, 4),
        (INTERLEAVED, 2),
        (INTERLEAVED, 4),
        (FOUR, 4),
        (replace(FOUR, schedule="gpipe"), 2),
        (replace(TWO, replicate=2), 2),
        (replace(TWO, shard=2, zero_stage=1), 2),
        (replace(TWO, shard=2, zero_stage=3), 4),
        (replace(INTERLEAVED, shard=2, zero_stage=3), 2),
        (replace(TWO, context=2), 2),
        (replace(TWO, tensor=2, splits=SPLITS), 2),
        (replace(TWO, tensor=2, splits=SPLITS, sequence_parallel=True), 2),
    ],
    ids=named,
)
def test_pieces_follow_the_curve_of_one_process(model: str, layout: Layout, accumulation: int, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *VARIANTS[model])
    laid_out = replace(layout, by_head=SLOPES if model == "alibi" else ())
    size = ROWS // layout.shard // layout.replicate // accumulation
    check(plan, plain_curve(plan, STEPS), laid_out, micro_batch_size=size)


@pytest.mark.slow
def test_pipeline_sharded_weights_and_tensor_ranks_work_together(tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *VARIANTS["rope"])
    layout = replace(TWO, shard=2, tensor=2, zero_stage=3, splits=SPLITS, sequence_parallel=True)
    check(plan, plain_curve(plan, 8), layout, 8, micro_batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        ("stages.pretrain.packing={cross_document: false}",),
        ("stages.pretrain.objective={kind: prefix, min_share: 0.1, max_share: 0.5}",),
        ("model.position={kind: learned}", "model.norm={kind: layernorm}"),
    ],
    ids=["documents", "prefix", "learned positions"],
)
def test_masks_and_positions_are_those_of_the_whole_model_in_every_piece(
    model: tuple[str, ...], tmp_path: Path
) -> None:
    plan = reference.compiled(tmp_path, *model)
    check(plan, plain_curve(plan, 8), TWO, 8, micro_batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [TWO, replace(TWO, shard=2, zero_stage=3), Layout(context=2), RING, replace(RING, pipeline=2, stages=HALVES)],
    ids=named,
)
def test_in_bf16_the_curve_is_that_of_one_process_but_for_rounding(layout: Layout, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path)
    want = plain_curve(plan, 8, micro=2, bf16=True)
    for one in on_ranks(layout.processes, train, plan, layout, {"micro_batch_size": 2, "precision": "bf16"}, 8):
        assert largest(one.losses, want.losses) <= 5e-3


@pytest.mark.slow
@pytest.mark.parametrize("activation_checkpointing", ["full"])
def test_recomputed_activations_change_nothing(activation_checkpointing: str, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path)
    check(plan, plain_curve(plan, 8), TWO, 8, micro_batch_size=2, activation_checkpointing=activation_checkpointing)


@pytest.mark.slow
@pytest.mark.parametrize("after", [TWO, Layout(), INTERLEAVED, replace(TWO, shard=2, zero_stage=3)], ids=named)
def test_a_pipeline_goes_on_from_a_checkpoint(after: Layout, tmp_path: Path) -> None:
    whole, rest = resumed(tmp_path / "run", reference.compiled(tmp_path), TWO, after, micro_batch_size=2)
    if after == TWO:
        assert [one.weights for one in rest] == [one.weights for one in whole]
        assert rest[0].losses == whole[0].losses[3:]
    assert largest(rest[0].losses, whole[0].losses[3:]) <= 1e-6


@pytest.mark.slow
def test_one_process_goes_on_as_a_pipeline(tmp_path: Path) -> None:
    whole, rest = resumed(tmp_path / "run", reference.compiled(tmp_path), Layout(), TWO, micro_batch_size=2)
    assert largest(rest[0].losses, whole[0].losses[3:]) <= 1e-6


@pytest.mark.parametrize(
    ("layout", "settings", "message"),
    [
        (TWO, {"micro_batch_size": 8}, "1f1b needs a micro-batch for each of 2 pieces at least, and a step has 1"),
        (replace(TWO, stages=QUARTERS), {}, "1f1b has one piece a rank, and the plan 2"),
        (replace(INTERLEAVED, pipeline=2), {"micro_batch_size": 1, "global_batch_size": 5}, "5 micro-batches do not"),
        (replace(TWO, stages=((0, 2), (3, 4))), {}, "are not those of a model on 2 ranks in turn"),
        (replace(TWO, schedule="zero_bubble"), {}, "gpipe or 1f1b or interleaved_1f1b, and the plan says zero_bubble"),
        (TWO, {"precision": "fp16"}, "does not scale losses"),
        (TWO, {"auxiliary_loss": 0.01}, "the auxiliary loss of experts is of all layers together"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused_before_it_begins(
    layout: Layout, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    changed = {"micro_batch_size": 2, **settings}
    recipe = reference.recipe(reference.compiled(tmp_path), **changed)
    with pytest.raises(RunError, match=re.escape(message)):
        build(recipe, Ranks(size=layout.processes, layout=layout), CPU, None)
