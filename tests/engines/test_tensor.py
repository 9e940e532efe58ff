"""Tensor and sequence parallelism by DTensors, alone and inside FSDP2."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runners.engines.proof import held
from runners.errors import RunError
from runners.layout import Layout
from tests.conftest import ROOT
from tests.engines.judging import (
    assert_drawn_alike,
    assert_replicas_agree,
    assert_same_curve,
    furthest,
    splits,
    trained,
)
from tests.engines.reference import VARIANTS, compiled, plain_curve, recipe
from tests.engines.training import Case

if TYPE_CHECKING:
    from tests.engines.conftest import Experiment

SEVENTY = (
    *((f"*.{name}_proj.weight", 0) for name in ("q", "k", "v", "gate", "up")),
    *((f"*.{name}_proj.weight", 1) for name in ("o", "down")),
    ("embedding.weight", 0),
)

# What stands in a part of a block, or beside the stream: each trains divided as it does whole.
MODELS = {
    "biases, layernorm, table of positions": (
        "model.position={kind: learned}",
        "model.attention={kind: mha, num_heads: 4, bias: all}",
        "model.norm={kind: layernorm}",
        "model.ffn={kind: gelu, intermediate_size: 128, bias: true}",
    ),
    "norms over heads": ("model.attention.qk_norm={kind: rmsnorm}",),
    "a norm of each head": ("model.attention.qk_norm={kind: rmsnorm}", "model.attention.qk_norm_over=each_head"),
    "sinusoidal positions": ("model.position={kind: sinusoidal}",),
    "relative bias": ("model.position={kind: relative}",),
    "sinks": ("model.attention.sinks=true",),
    "latent attention": (
        "model.attention={kind: mla, num_heads: 4, q_lora_rank: 32, kv_lora_rank: 32, "
        "qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16}",
    ),
    "layers used twice": ("model.layer_sharing={distinct: 2}",),
    "adapters": ("model.adapters={size: 16}",),
    "experts": ("model.ffn={kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 64}",),
}


def divided(sequence: bool, *sets: str, **sizes: int) -> Layout:
    """A layout of these sizes."""
    by_head = ("alibi_slopes",) if any("alibi" in one for one in sets) else ()
    return Layout(sequence_parallel=sequence, splits=splits(*sets), by_head=by_head, **sizes)


def test_two_tensor_ranks_train_as_one_process(experiment: Experiment) -> None:
    plan, plain = experiment("alibi", 10)
    cases = [Case(divided(sequence, *VARIANTS["alibi"], tensor=2), 1 + sequence, 10) for sequence in (False, True)]
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)
        assert_drawn_alike(plan, seen)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["rope", "alibi"])
@pytest.mark.parametrize("sequence", [False, True])
def test_fifty_steps_are_the_same_curve(experiment: Experiment, variant: str, sequence: bool) -> None:
    plan, plain = experiment(variant)
    layout = divided(sequence, *VARIANTS[variant], tensor=2)
    for seen in trained(plan, [Case(layout, accumulation) for accumulation in (1, 2, 4)]):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_inside_fsdp_it_is_the_same_curve(experiment: Experiment, stage: int) -> None:
    plan, plain = experiment("alibi")
    copies, parts = (1, 2) if stage else (2, 1)
    layouts = [
        divided(sequence, *VARIANTS["alibi"], tensor=2, replicate=copies, shard=parts, zero_stage=stage)
        for sequence in (False, True)
    ]
    for seen in trained(plan, [Case(layout, 1 + index) for index, layout in enumerate(layouts)]):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)
        assert_drawn_alike(plan, seen)


@pytest.mark.slow
def test_four_tensor_ranks_are_the_same_curve(tmp_path: Path) -> None:
    sets = ("model.attention.num_kv_heads=4", *VARIANTS["rope"])
    plan = compiled(tmp_path, *sets)
    (seen,) = trained(plan, [Case(divided(True, *sets, tensor=4))])
    assert_same_curve(seen, plain_curve(plan))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_part_of_a_block_can_be_divided(tmp_path: Path, name: str) -> None:
    plan = compiled(tmp_path, *MODELS[name])
    cases = [Case(divided(sequence, *MODELS[name], tensor=2), 1, 10) for sequence in (False, True)]
    plain = plain_curve(plan, 10)
    for seen in trained(plan, cases):
        assert_same_curve(seen, plain)
        assert_replicas_agree(seen)


@pytest.mark.slow
def test_bf16_and_recomputed_activations_are_the_curves_of_one_process(experiment: Experiment) -> None:
    sets = VARIANTS["alibi"]
    layout = divided(True, *sets, tensor=2)
    cases = [Case(layout, 1, 10, {"activation_checkpointing": how}) for how in ("selective", "full")]
    bf16 = Case(layout, 2, settings={"precision": "bf16"})
    plan, plain = experiment("alibi", 10)
    *recomputed, narrow = trained(plan, [*cases, bf16])
    for seen in recomputed:
        assert_same_curve(seen, plain)
    assert furthest(narrow[0].losses, experiment("alibi", bf16=True)[1].losses) <= 2e-3


def test_70b_on_256_ranks_is_proved_in_one_process() -> None:
    """Each rank holds a 256th: the largest parts, the table of tokens and the head, are divided too."""
    made = recipe(ROOT / "generated/70b_alibi")
    layout = Layout(tensor=8, shard=32, zero_stage=3, sequence_parallel=True, splits=SEVENTY, by_head=("alibi_slopes",))
    parts = held(made.model, layout, rank=100)
    assert sum(math.prod(shape) for shape in parts.values()) == pytest.approx(68_455_505_920 / 256, rel=0.001)
    assert parts["layers.0.attention.k_proj.weight"] == (1024 // 256, 8192)
    assert parts["layers.0.attention.o_proj.weight"] == (8192 // 32, 8192 // 8)


def test_heads_that_do_not_divide_are_an_error_before_anything_is_allocated() -> None:
    made = recipe(ROOT / "generated/70b_alibi")
    with pytest.raises(RunError, match=r"384 on axis 0 of `embedding.weight` do not divide among 5 tensor ranks"):
        held(made.model, Layout(tensor=5, splits=SEVENTY))
