"""Sequences that are divided among ranks train as whole ones do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runners.engines import build
from runners.errors import RunError
from runners.layout import Layout
from runners.ranks import join, leave
from tests.engines import reference
from tests.engines.curves import CPU, check, largest, named, plain_curve, resumed
from tests.engines.ranks import on_ranks
from tests.engines.reference import ROWS, STEPS

SLOPES = ("alibi_slopes",)
LATENT = (
    "{kind: mla, num_heads: 4, kv_lora_rank: 32, q_lora_rank: 24, "
    "qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16}"
)
MODELS = {
    **reference.VARIANTS,
    "normed heads": ("model.attention.qk_norm={kind: rmsnorm}",),
    "normed each head": ("model.attention.qk_norm={kind: rmsnorm}", "model.attention.qk_norm_over=each_head"),
    "normed width": ("model.attention.qk_norm={kind: rmsnorm}", "model.attention.qk_norm_over=width"),
    "window": ("model.attention.window=8",),
    "latent": (f"model.attention={LATENT}",),
    "shared layers": ("model.layer_sharing={distinct: 2}",),
    "adapters": ("model.adapters={size: 8}",),
    "prefix": ("stages.pretrain.objective={kind: prefix, min_share: 0.1, max_share: 0.5}",),
    "one key head": ("model.attention={kind: mqa, num_heads: 4}",),
    "documents": ("stages.pretrain.packing={cross_document: false}",),
}
TWO = Layout(context=2)
RING = Layout(context=2, context_kind="ring")
SPLITS = (
    ("*.q_proj.*", 0),
    ("*.k_proj.*", 0),
    ("*.v_proj.*", 0),
    ("*.o_proj.weight", 1),
    ("*.gate_proj.*", 0),
    ("*.up_proj.*", 0),
    ("*.down_proj.weight", 1),
)


def test_a_rank_that_computes_half_of_each_sequence_follows_the_curve(tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *MODELS["alibi"])
    check(plan, plain_curve(plan, 8), Layout(context=2, by_head=SLOPES), 8, micro_batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rope", "alibi"])
@pytest.mark.parametrize(
    "layout", [TWO, Layout(context=2, shard=2), Layout(context=2, shard=2, zero_stage=3)], ids=named
)
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_parts_of_sequences_follow_the_curve_of_one_process(
    model: str, layout: Layout, accumulation: int, tmp_path: Path
) -> None:
    plan = reference.compiled(tmp_path, *MODELS[model])
    laid_out = replace(layout, by_head=SLOPES if model == "alibi" else ())
    check(plan, plain_curve(plan, STEPS), laid_out, micro_batch_size=ROWS // layout.shard // accumulation)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in MODELS if name not in ("rope", "alibi", "one key head")])
def test_every_attention_computes_the_same_with_a_part_of_its_heads(model: str, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *MODELS[model])
    check(plan, plain_curve(plan, 8), TWO, 8, micro_batch_size=4)


def test_keys_and_values_go_round_two_ranks(tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *MODELS["rope"])
    check(plan, plain_curve(plan, 8), RING, 8, micro_batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rope", "alibi"])
@pytest.mark.parametrize("layout", [replace(RING, context=4), replace(RING, shard=2, zero_stage=3)], ids=named)
def test_a_ring_follows_the_curve_of_one_process(model: str, layout: Layout, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *MODELS[model])
    laid_out = replace(layout, by_head=SLOPES if model == "alibi" else ())
    check(plan, plain_curve(plan, STEPS), laid_out, micro_batch_size=ROWS // layout.shard // 2)


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in MODELS if name not in ("rope", "alibi")])
def test_every_attention_computes_the_same_in_a_ring(model: str, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *MODELS[model])
    check(plan, plain_curve(plan, 8), RING, 8, micro_batch_size=4)


@pytest.mark.slow
def test_tensor_ranks_each_have_a_ring(tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *MODELS["alibi"])
    check(plan, plain_curve(plan, 8), replace(RING, tensor=2, splits=SPLITS, by_head=SLOPES), 8, micro_batch_size=4)


@pytest.mark.slow
def test_four_ranks_divide_four_heads(tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, "model.attention={kind: mha, num_heads: 4}")
    check(plan, plain_curve(plan, 8), Layout(context=4), 8, micro_batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("sequence_parallel", [False, True])
def test_heads_are_divided_among_tensor_ranks_first(sequence_parallel: bool, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, "model.attention={kind: mha, num_heads: 4}", "model.position={kind: alibi}")
    layout = Layout(context=2, tensor=2, splits=SPLITS, by_head=SLOPES, sequence_parallel=sequence_parallel)
    check(plan, plain_curve(plan, 8), layout, 8, micro_batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("after", [TWO, Layout(), Layout(shard=2, zero_stage=3)], ids=named)
def test_a_training_on_parts_of_sequences_goes_on_from_a_checkpoint(after: Layout, tmp_path: Path) -> None:
    whole, rest = resumed(tmp_path / "run", reference.compiled(tmp_path), TWO, after, micro_batch_size=4)
    if after == TWO:
        assert [one.weights for one in rest] == [one.weights for one in whole]
        assert rest[0].losses == whole[0].losses[3:]
    assert largest(rest[0].losses, whole[0].losses[3:]) <= 1e-6


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (("model.attention={kind: gqa, num_heads: 4, num_kv_heads: 1}",), "1 key/value heads do not divide"),
        (("model.attention.sinks=true",), "does not divide attention sinks"),
    ],
)
def test_what_cannot_be_divided_is_refused(model: tuple[str, ...], message: str, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, *model)
    assert all(message in said for said in on_ranks(2, refusal, plan))


def refusal(plan: Path) -> str:
    """What a rank says when it is to build the model."""
    ranks = join(TWO)
    try:
        build(reference.recipe(plan, layout=TWO), ranks, CPU, None)
    except RunError as error:
        return str(error)
    finally:
        leave(ranks)
    return ""
