"""Meshes that cannot be, and that what is advised instead can be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from specc.planning.legality import unfit
from tests.checks.specs import EIGHT, codes, found, layout, outcome
from tests.planning.placing import LLAMA_70B, cluster, stage, training

WIDE = "model: {attention: {num_heads: 8, num_kv_heads: 8}, num_layers: 8, pad_vocab_size_multiple: 128"


def spec(parallelism: str, model: str = WIDE + "}", machines: str = EIGHT, batch: int = 64) -> str:
    written = f"{{global_batch_size: {batch} sequences, parallelism: {{{parallelism}}}}}"
    return f"{model}\nstages: {{pretrain: {written}}}\n{machines}"


REFUSED = {
    "engine: torch, data_parallel_size: 4, tensor_parallel_size: 4": "SPC401",
    "engine: torch, tensor_parallel_size: 3": "SPC401",
    "engine: torch, data_parallel_size: 4": "SPC401",
    "engine: torch, expert_parallel_size: 3": "SPC401",
    "engine: torch, pipeline_parallel_size: 2, pipeline_chunks: 3": "SPC404",
    "engine: deepspeed, zero_stage: 0": "SPC407",
    "engine: deepspeed, zero_stage: 2, pipeline_parallel_size: 2": "SPC407",
    "engine: deepspeed, tensor_parallel_size: 2, pipeline_parallel_size: 2": "SPC407",
    "engine: deepspeed, tensor_parallel_size: 2, sequence_parallel: true": "SPC407",
    "engine: deepspeed, pipeline_parallel_size: 2, pipeline_schedule: gpipe": "SPC407",
    "engine: deepspeed, context_parallel_size: 2": "SPC407",
    "engine: deepspeed, data_parallel_shard_size: 4": "SPC407",
    "engine: deepspeed, compile: true": "SPC407",
    "engine: torch, zero_stage: 0, data_parallel_shard_size: 4": "SPC407",
    "engine: torch, expert_parallel_size: 4": "SPC408",
    "engine: torch, data_parallel_shard_size: 3": "SPC432",
    "engine: torch, pipeline_parallel_size: 2, pipeline_schedule: interleaved_1f1b": "SPC433",
    "engine: torch, pipeline_parallel_size: 2, pipeline_chunks: 2, pipeline_schedule: gpipe": "SPC433",
    "engine: xla": "SPC418",
}


@pytest.mark.parametrize("asked", REFUSED)
def test_what_cannot_be_is_said_once_or_with_what_else_is_wrong(asked: str, tmp_path: Path) -> None:
    said = codes(tmp_path, spec(asked))
    assert REFUSED[asked] in said
    assert len(said) == len(set(said))


@pytest.mark.parametrize(
    "asked", [asked for asked, code in REFUSED.items() if code in ("SPC404", "SPC407", "SPC418", "SPC432", "SPC433")]
)
def test_the_value_that_is_advised_is_legal(asked: str, tmp_path: Path) -> None:
    untied = WIDE + ", tie_embeddings: false}"
    (diagnostic,) = [each for each in outcome(tmp_path, spec(asked, untied)).diagnostics if each.severity == "error"]
    assert diagnostic.help is not None
    match = re.search(r"`(\w+): (\w+)`", diagnostic.help)
    assert match is not None
    key, value = match.groups()
    rest = [part for part in asked.split(", ") if not part.startswith(f"{key}:")]
    assert outcome(tmp_path, spec(", ".join([*rest, f"{key}: {value}"]), untied)).plan is not None


def test_the_product_of_the_sizes_is_the_number_of_devices(tmp_path: Path) -> None:
    for asked in ("tensor_parallel_size: 2", "pipeline_parallel_size: 2"):
        assert layout(tmp_path, spec(f"engine: deepspeed, zero_stage: 1, {asked}")).devices == 8
    assert layout(tmp_path, spec("engine: torch, context_parallel_size: 4")).devices == 8


def test_without_an_engine_one_is_taken_that_can_do_it_all(tmp_path: Path) -> None:
    untied = WIDE + ", tie_embeddings: false}"
    assert layout(tmp_path, spec("tensor_parallel_size: 2", untied)).engine == "deepspeed"
    assert layout(tmp_path, spec("tensor_parallel_size: 2, pipeline_parallel_size: 2", untied)).engine == "torch"
    tpu = "cluster: {device: tpu_v5e, devices_per_node: 8}"
    assert layout(tmp_path, spec("tensor_parallel_size: 2", untied, tpu)).engine == "xla"


def test_deepspeed_keeps_a_tied_table_whole_and_so_needs_no_padding(tmp_path: Path) -> None:
    odd = WIDE.replace("128", "1") + "}"
    assert codes(tmp_path, spec("engine: deepspeed, tensor_parallel_size: 2", odd)) == []
    assert codes(tmp_path, spec("engine: torch, tensor_parallel_size: 2", odd)) == ["SPC412"]


def test_context_parallel_ranks_divide_the_key_and_value_heads_that_tensor_parallel_ones_leave(tmp_path: Path) -> None:
    few = WIDE.replace("num_kv_heads: 8", "num_kv_heads: 2") + "}"
    assert codes(tmp_path, spec("engine: torch, context_parallel_size: 2", few)) == []
    assert codes(tmp_path, spec("engine: torch, context_parallel_size: 4", few)) == ["SPC403"]
    (error,) = found(tmp_path, spec("engine: torch, tensor_parallel_size: 2, context_parallel_size: 2", few), "SPC403")
    words = "1 key/value heads of a tensor-parallel rank cannot be split over 2 context-parallel ranks"
    assert error.headline == words


def test_a_sequence_divides_among_the_ranks_that_hold_parts_of_it(tmp_path: Path) -> None:
    odd = WIDE + ", context_length: 126}"
    assert codes(tmp_path, spec("engine: torch, context_parallel_size: 2", odd)) == []
    assert codes(tmp_path, spec("engine: torch, context_parallel_size: 4", odd)) == ["SPC409"]
    assert codes(tmp_path, spec("engine: torch, tensor_parallel_size: 4", odd)) == []
    assert codes(tmp_path, spec("engine: torch, tensor_parallel_size: 4, sequence_parallel: true", odd)) == ["SPC409"]


def test_tensor_parallelism_inside_a_node_is_no_warning(tmp_path: Path) -> None:
    two = "cluster: {device: h100_sxm, nodes: 2, devices_per_node: 4}"
    assert codes(tmp_path, spec("engine: torch, tensor_parallel_size: 8", machines=two)) == ["SPC405"]
    assert codes(tmp_path, spec("engine: torch, tensor_parallel_size: 4", machines=two)) == []


def test_the_bubble_is_computed_and_the_advice_makes_it_small(tmp_path: Path) -> None:
    asked = "engine: deepspeed, zero_stage: 1, pipeline_parallel_size: 4, micro_batch_size: 8"
    (warning,) = found(tmp_path, spec(asked), "SPC411")
    assert warning.headline == "4 micro-batches over 4 stages leave 43% of the time idle"
    assert warning.help == "use `micro_batch_size: 2`: 16%"
    assert codes(tmp_path, spec(asked.replace("size: 8", "size: 2"))) == []


def test_chunks_are_advised_before_another_batch_where_they_mend_the_bubble(tmp_path: Path) -> None:
    deep = WIDE.replace("num_layers: 8", "num_layers: 16") + ", tie_embeddings: false}"
    asked = "pipeline_parallel_size: 4"
    (warning,) = found(tmp_path, spec(asked, deep, batch=16), "SPC411")
    assert warning.help == "use `pipeline_chunks: 2`: 16%"
    assert codes(tmp_path, spec(f"{asked}, pipeline_chunks: 2", deep, batch=16)) == []
    (warning,) = found(tmp_path, spec(f"engine: deepspeed, {asked}", deep, batch=16), "SPC411")
    assert warning.help == "use `engine: torch` and `pipeline_chunks: 2`: 16%"
    # Eight layers have two chunks to offer four stages, which is too little for four micro-batches.
    (warning,) = found(tmp_path, spec(asked, WIDE + ", tie_embeddings: false}", batch=8), "SPC411")
    assert warning.help == "use a global batch of 24 sequences, or fewer stages"


def test_stages_may_be_uneven_where_nothing_interleaves(tmp_path: Path) -> None:
    uneven = WIDE.replace("num_layers: 8", "num_layers: 6") + ", tie_embeddings: false}"
    for engine in ("torch", "deepspeed"):
        asked = f"engine: {engine}, pipeline_parallel_size: 4"
        assert layout(tmp_path, spec(asked, uneven)).pipeline_parallel_size == 4
    few = uneven.replace("num_layers: 6", "num_layers: 3")
    assert codes(tmp_path, spec("pipeline_parallel_size: 4", few)) == ["SPC404"]
    assert codes(tmp_path, spec("pipeline_parallel_size: 2, pipeline_chunks: 2", uneven)) == ["SPC404"]


def test_without_an_engine_one_is_taken_that_can_divide_the_model(tmp_path: Path) -> None:
    odd = WIDE.replace("128", "1")
    assert layout(tmp_path, spec("tensor_parallel_size: 2", odd + "}")).engine == "deepspeed"
    assert layout(tmp_path, spec("context_parallel_size: 2")).engine == "torch"
    assert layout(tmp_path, spec("", machines="cluster: {device: cpu, devices_per_node: 2}")).engine == "torch"


def test_the_size_of_the_cluster_is_shown_where_it_was_written(tmp_path: Path) -> None:
    (error,) = found(tmp_path, spec("tensor_parallel_size: 16"), "SPC401")
    assert [(label.span.line, label.text) for label in error.labels][-1] == (4, "1 x 8 devices")
    (error,) = found(tmp_path, spec("tensor_parallel_size: 2", machines=""), "SPC401")
    assert error.headline == "tensor 2 takes 2 ranks, and the cluster has 1 device"


def test_of_a_cluster_that_nobody_wrote_nothing_is_shown(tmp_path: Path) -> None:
    text = WIDE + "}\nstages: {pretrain: {parallelism: {tensor_parallel_size: 2}}}"
    (error,) = found(tmp_path, text, "SPC401")
    assert [label.span.line for label in error.labels] == [3]


def test_what_is_planned_and_not_emitted_is_a_note_and_then_a_refusal(tmp_path: Path) -> None:
    text = spec("engine: xla", machines="cluster: {device: tpu_v5e, nodes: 2, devices_per_node: 4}")
    noted, refused = outcome(tmp_path, text), outcome(tmp_path, text, emitting=True)
    assert [each.severity for each in noted.diagnostics if each.code == "SPC419"] == ["note"]
    assert [each.severity for each in refused.diagnostics if each.code == "SPC419"] == ["error"]
    assert refused.plan is None
    one_node = spec("engine: xla", machines="cluster: {device: tpu_v5e, devices_per_node: 8}")
    assert codes(tmp_path, one_node, without=()) == []


def test_a_batch_is_divided_among_data_parallel_ranks_and_not_devices(tmp_path: Path) -> None:
    (error,) = found(tmp_path, spec("engine: deepspeed, tensor_parallel_size: 2", batch=6), "SPC301")
    assert error.headline == "a global batch of 6 sequences does not divide among 4 data-parallel ranks"
    assert codes(tmp_path, spec("engine: deepspeed, tensor_parallel_size: 2", batch=4)) == []


def test_all_mistakes_of_a_mesh_are_said_at_once(tmp_path: Path) -> None:
    odd = "model: {attention: {num_heads: 2, num_kv_heads: 2}, num_layers: 3, pad_vocab_size_multiple: 1}"
    asked = "engine: torch, tensor_parallel_size: 4, pipeline_parallel_size: 2, pipeline_chunks: 2"
    assert sorted(codes(tmp_path, spec(asked, odd))) == ["SPC402", "SPC404", "SPC412"]


def test_sizes_that_cannot_be_are_not_divided_by(tmp_path: Path) -> None:
    odd = "model: {attention: {num_heads: 4, num_kv_heads: 2}, num_layers: 3, pad_vocab_size_multiple: 1}"
    assert codes(tmp_path, spec("engine: torch, tensor_parallel_size: 3", odd)) == ["SPC401"]


def test_experts_divide_over_expert_parallel_ranks() -> None:
    """Read from the fields of whatever kind has experts."""
    dense = LLAMA_70B
    routed = replace(dense.layers[0].part("ffn"), fields={"num_experts": 12, "experts_per_token": 2})
    model = replace(dense, layers=(replace(dense.layers[0], parts=(("ffn", routed),)),))
    for ranks, said in ((4, []), (8, ["SPC408"])):
        work = training(model, 64, expert_parallel_size=ranks, engine="torch")
        findings = unfit(model, stage(work), work, cluster())
        assert [each.code for each in findings] == said
