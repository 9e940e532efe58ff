"""Placements: every weight is divided as its kind says, and pipelines are cut where the slowest stage is fastest."""

from __future__ import annotations

from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import combinations, pairwise

import pytest

from specc import ir
from specc.ir.placement import Placement, functions_by_head, pieces, place, splits
from tests.compiling import files, planned

EXPERTS = "model.ffn={kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 64, num_shared_experts: 1}"
LATENT = (
    "model.attention={kind: mla, num_heads: 4, kv_lora_rank: 16, q_lora_rank: 16, qk_nope_head_dim: 8, "
    "qk_rope_head_dim: 8, v_head_dim: 8}"
)
EIGHT = "cluster={device: h100_sxm, devices_per_node: 8}"

# What Megatron-LM (arXiv:1909.08053, section 3) divides, written out by hand: axis by the name of a weight in a block.
DENSE = {
    "attention.q_proj.weight": 0,
    "attention.k_proj.weight": 0,
    "attention.v_proj.weight": 0,
    "attention.o_proj.weight": 1,
    "ffn.gate_proj.weight": 0,
    "ffn.up_proj.weight": 0,
    "ffn.down_proj.weight": 1,
}
MODELS = {
    (): DENSE,
    ("model.attention.bias=all", "model.ffn.bias=true"): DENSE
    | {f"attention.{name}_proj.bias": 0 for name in "qkv"}
    | {"ffn.gate_proj.bias": 0, "ffn.up_proj.bias": 0},
    ("model.attention.qk_norm={kind: rmsnorm}",): DENSE,
    ("model.attention.qk_norm={kind: rmsnorm}", "model.attention.qk_norm_over=each_head"): DENSE
    | {"attention.q_norm.weight": 0, "attention.k_norm.weight": 0},
    ("model.attention.sinks=true",): DENSE | {"attention.sinks": 0},
    (LATENT,): {name: axis for name, axis in DENSE.items() if not name.startswith("attention")}
    | {"attention.q_b_proj.weight": 0, "attention.kv_b_proj.weight": 0, "attention.o_proj.weight": 1},
    (EXPERTS,): {name: axis for name, axis in DENSE.items() if not name.startswith("ffn")}
    | {"ffn.experts.gate_proj": 1, "ffn.experts.up_proj": 1, "ffn.experts.down_proj": 2}
    | {"ffn.shared.gate_proj.weight": 0, "ffn.shared.up_proj.weight": 0, "ffn.shared.down_proj.weight": 1},
}


@pytest.mark.parametrize("sets", MODELS, ids=str)
def test_every_weight_is_divided_along_the_axis_that_the_paper_divides(sets: tuple[str, ...]) -> None:
    model = planned(*sets).experiment.model
    patterns = splits(model)
    for weight in model.weights():
        matched = [axis for pattern, axis in patterns if fnmatchcase(weight.name, pattern)]
        wanted = MODELS[sets].get(weight.name.split(".", 2)[2]) if weight.name.startswith("layers.") else None
        if weight.name == "embedding.weight":
            wanted = 0
        assert matched == ([] if wanted is None else [wanted]), weight.name


def test_tables_are_divided_by_rows_of_the_vocabulary_and_by_heads() -> None:
    untied = dict(splits(planned("model.tie_embeddings=false").experiment.model))
    assert (untied["embedding.weight"], untied["lm_head.weight"]) == (0, 0)
    relative = dict(splits(planned("model.position={kind: relative, num_buckets: 8}").experiment.model))
    assert relative["position_embedding.weight"] == 1
    learned = dict(splits(planned("model.position={kind: learned}").experiment.model))
    assert "position_embedding.weight" not in learned


def test_slopes_go_with_the_heads() -> None:
    assert functions_by_head(planned("model.position={kind: alibi}").experiment.model) == ("alibi_slopes",)
    assert functions_by_head(planned().experiment.model) == ()


@pytest.mark.parametrize("layers", [4, 6, 7, 13])
@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("head", [Fraction(0), Fraction(1, 10), Fraction(3, 2), Fraction(5)])
def test_no_other_cut_of_a_pipeline_is_faster(layers: int, stages: int, head: Fraction) -> None:
    """Against every cut there is."""
    found = pieces(layers, stages, 1, head)
    assert [first for first, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == layers

    def slowest(ends: tuple[int, ...]) -> Fraction:
        cuts = (0, *ends, layers)
        sizes = [end - first for first, end in pairwise(cuts)]
        return max(*sizes[:-1], sizes[-1] + head) if stages > 1 else sizes[0] + head

    every = (slowest(ends) for ends in combinations(range(1, layers), stages - 1))
    assert slowest(tuple(end for _, end in found[:-1])) == min(every)


def test_a_schedule_that_interleaves_has_equal_pieces() -> None:
    assert pieces(8, 2, 2, Fraction(3)) == ((0, 2), (2, 4), (4, 6), (6, 8))


def test_a_head_that_costs_more_than_a_block_leaves_the_last_stage_fewer_of_them() -> None:
    asked = "stages.pretrain.parallelism={engine: torch, pipeline_parallel_size: 2}"
    large = "model.pad_vocab_size_multiple=4096"
    batch = "stages.pretrain.global_batch_size=64 sequences"
    placed = placement("model.num_layers=8", large, asked, batch, EIGHT)
    sizes = [end - first for first, end in placed.stages]
    assert sizes[0] > sizes[1]
    assert sum(sizes) == 8


def test_groups_that_shard_are_copies_of_each_other() -> None:
    asked = "stages.pretrain.parallelism={engine: torch, zero_stage: 3, data_parallel_shard_size: 2}"
    placed = placement(asked, EIGHT)
    assert (placed.replicate, placed.shard) == (4, 2)


def test_without_zero_all_ranks_are_copies_but_for_those_that_divide_experts() -> None:
    whole = placement("stages.pretrain.parallelism={engine: torch, zero_stage: 0}", EIGHT)
    assert (whole.replicate, whole.shard) == (8, 1)
    asked = "stages.pretrain.parallelism={engine: torch, zero_stage: 0, expert_parallel_size: 2}"
    divided = placement(EXPERTS, asked, EIGHT)
    assert (divided.replicate, divided.shard, divided.expert) == (1, 8, 2)


def test_one_device_has_no_layout_and_one_axis_names_itself_alone() -> None:
    assert "Layout" not in files(planned())["train.py"]
    program = files(planned("stages.pretrain.parallelism={engine: torch, zero_stage: 2}", EIGHT))["train.py"]
    said = program[program.index("LAYOUT = ") : program.index("PRETRAINING")]
    assert "shard=8," in said
    assert "zero_stage=2," in said
    assert "tensor" not in said
    assert "splits" not in said


def placement(*sets: str) -> Placement:
    plan = planned(*sets)
    layout, work = plan.stage("pretrain").layout, plan.experiment.stage("pretrain").work
    assert layout is not None
    assert isinstance(work, ir.Training)
    return place(plan.experiment.model, layout, work.context_length)
