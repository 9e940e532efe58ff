"""Every cell of the table of engines refuses a spec, with its reason; and what stands beside it is legal."""

from __future__ import annotations

import pytest

from specc.driver import Outcome, check
from specc.planning.combinations import REFUSALS, Refusal
from specc.planning.traits import TRAITS
from tests.compiling import TINY

FEATURES = {
    "data": (),
    **{f"zero_{stage}": (f"zero_stage={stage}",) for stage in range(4)},
    "hybrid": ("data_parallel_shard_size=2",),
    "tensor": ("tensor_parallel_size=2",),
    "sequence": ("tensor_parallel_size=2", "sequence_parallel=true"),
    "pipeline": ("pipeline_parallel_size=2",),
    "interleaving": ("pipeline_parallel_size=2", "pipeline_chunks=2"),
    "gpipe": ("pipeline_parallel_size=2", "pipeline_schedule=gpipe"),
    "context": ("context_parallel_size=2",),
    "ring": ("context_parallel_size=2", "context_parallel_kind=ring"),
    "nested": ("context_parallel_size=2", "tensor_parallel_size=2"),
    "expert": ("expert_parallel_size=2",),
    "selective": ("activation_checkpointing=selective",),
    "compile": ("compile=true",),
    "offload": ("offload.optimizer=cpu",),
    "offload_optimizer_nvme": ("offload={optimizer: nvme, nvme_path: /nvme}",),
    "offload_parameters": ("offload.parameters=cpu",),
}
"""Keys below `parallelism` that use a feature of the table."""

_EXPERTS = "kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 64"
_HEADS = "num_heads: 8, num_kv_heads: 8"
_NORM = "qk_norm: {kind: rmsnorm}, qk_norm_over"
BROUGHT = {
    "encoder": ("model.kind=encoder", "model.head={kind: masked_lm}", "stages.pretrain.objective={kind: masked}"),
    "two_stacks": ("model.kind=encoder_decoder", "stages.pretrain.objective={kind: span_corruption}"),
    "shared_layers": ("model.layer_sharing={distinct: 2}",),
    "bottlenecks": ("model.adapters={size: 8}",),
    "prediction": ("model.prediction={depth: 2}", "stages.pretrain.objective={kind: multi_token}"),
    "latent": (
        "model.attention={kind: mla, num_heads: 8, kv_lora_rank: 16, qk_nope_head_dim: 8, qk_rope_head_dim: 8, "
        "v_head_dim: 8}",
    ),
    "width_norm": (f"model.attention={{kind: gqa, {_HEADS}, {_NORM}: width}}",),
    "each_head_norm": (f"model.attention={{kind: gqa, {_HEADS}, {_NORM}: each_head}}",),
    "head_norm": (f"model.attention={{kind: gqa, {_HEADS}, {_NORM}: head}}",),
    "sinks": (f"model.attention={{kind: gqa, {_HEADS}, sinks: true}}",),
    "other_kernel": (f"model.attention={{kind: gqa, {_HEADS}, kernel: eager}}",),
    "relative": ("model.position={kind: relative, num_buckets: 8}",),
    "table": ("model.position={kind: learned}",),
    "experts": (f"model.ffn={{{_EXPERTS}}}",),
    "balanced": (f"model.ffn={{{_EXPERTS}, balancing: {{kind: bias}}}}",),
    "auxiliary": (f"model.ffn={{{_EXPERTS}, balancing: {{kind: loss}}}}",),
    "capacity": (f"model.ffn={{{_EXPERTS}, capacity_factor: 1.5}}",),
    "dropout": ("model.dropout={residual: 0.1}",),
    "apart": ("stages.pretrain.packing={cross_document: false}",),
    "prefix": ("stages.pretrain.objective={kind: prefix}",),
    "other_objective": ("model.prediction={depth: 2}", "stages.pretrain.objective={kind: multi_token}"),
    "whole_rows": ("stages.pretrain.optimizer={kind: adamw_8bit, learning_rate: 1.0e-3}",),
    "several_optimizers": (
        "stages.pretrain.optimizer={kind: adamw, learning_rate: 1.0e-3, rules: [{match: '*_proj.weight', optimizer: "
        "{kind: muon, learning_rate: 1.0e-3}}]}",
    ),
    "whole_matrices": (
        "stages.pretrain.optimizer={kind: muon, learning_rate: 1.0e-3, rules: [{match: '*norm.weight', optimizer: "
        "{kind: adamw, learning_rate: 1.0e-3}}, {match: 'embedding.*', optimizer: {kind: adamw, learning_rate: "
        "1.0e-3}}, {match: 'lm_head.*', optimizer: {kind: adamw, learning_rate: 1.0e-3}}]}",
    ),
    "fp16": ("stages.pretrain.precision=fp16", "stages.pretrain.loss_scale=dynamic"),
    "fp8": ("stages.pretrain.precision=fp8",),
    "growing": (
        "stages.pretrain.batch_size_schedule={start: 16 sequences, increment: 16 sequences, duration: 10 steps}",
    ),
    "averaged": ("stages.pretrain.ema={decay: 0.999}",),
    "scored": (
        "data.text.holdout=10%",
        "suites.own={tasks: [{task: bits_per_byte, data: text}]}",
        "stages.pretrain.evaluation={every: 10 steps, suites: [own]}",
    ),
    "chunks": ("stages.pretrain.loss_chunk=64 tokens",),
    "cpu": ("cluster.device=cpu",),
}
"""Overrides of the smallest spec that bring a trait of the table."""

COMMON = (
    f"model.attention={{kind: gqa, {_HEADS}}}",
    "model.num_layers=4",
    "model.tie_embeddings=false",
    "model.pad_vocab_size_multiple=128",
    "stages.pretrain.global_batch_size=64 sequences",
    "cluster={device: h100_sxm, devices_per_node: 4}",
)
TPU = "cluster={device: tpu_v5e, devices_per_node: 4}"


def outcome(engine: str, *names: str | None) -> Outcome:
    """What is said of the smallest spec with these features and traits, on an engine."""
    sets = [*COMMON, *((TPU,) if engine == "xla" else ()), f"stages.pretrain.parallelism.engine={engine}"]
    for name in names:
        sets += BROUGHT.get(name or "", ())
        sets += (f"stages.pretrain.parallelism.{key}" for key in FEATURES.get(name or "", ()))
    if "expert" in names and not set(names) & {"experts", "balanced", "capacity"}:
        sets += BROUGHT["experts"]
    return check(TINY, tuple(sets))


def errors(engine: str, *names: str | None) -> list[str]:
    """Codes of what is wrong with it."""
    return sorted({each.code for each in outcome(engine, *names).diagnostics if each.severity == "error"})


SILENT = [
    ("deepspeed", "zero_0"),
    ("deepspeed", "zero_0", "pipeline"),
    ("deepspeed", "context"),
    ("deepspeed", "zero_2", "whole_matrices"),
    ("deepspeed", "tensor", "each_head_norm"),
    ("deepspeed", "zero_1", "offload_optimizer_nvme"),
    ("deepspeed", "zero_2", "offload_parameters"),
    ("deepspeed", "pipeline", "tensor"),
    ("deepspeed", "pipeline", "zero_2"),
    ("deepspeed", "pipeline", "zero_3"),
    ("deepspeed", "experts", "expert", "zero_3"),
    ("deepspeed", "fp16", "cpu"),
    ("xla", "compile"),
]
"""What was seen to train wrong, to stop or to hang, each written out: the table must have a row for it."""

ALONE = {
    *(("xla", experts) for experts in ("experts", "balanced", "auxiliary", "capacity")),
    *(("xla", what) for what in ("whole_matrices", "several_optimizers")),
    *(("deepspeed", what) for what in ("whole_matrices", "whole_rows", "several_optimizers", "balanced", "auxiliary")),
    *(("deepspeed", name) for name in ("growing", "averaged", "fp8")),
    *(("xla", name) for name in ("whole_rows", "growing", "averaged", "chunks", "fp8", "scored")),
    ("torch", "fp8"),
}
"""Engines that cannot train a trait on four ranks that only read different sequences."""


@pytest.mark.parametrize("row", SILENT, ids="-".join)
def test_what_is_wrong_in_silence_is_refused(row: tuple[str, ...]) -> None:
    engine, *names = row
    assert set(errors(engine, *names)) <= {"SPC407", "SPC430"}
    assert errors(engine, *names)


@pytest.mark.parametrize("cell", REFUSALS, ids=lambda cell: f"{cell.engine}-{cell.feature}-{cell.together}")
def test_every_cell_refuses_a_spec_with_its_reason(cell: Refusal) -> None:
    found = [one for one in outcome(cell.engine, cell.feature, cell.together).diagnostics if one.severity == "error"]
    traits = {trait.name for trait in TRAITS}
    code = "SPC430" if {cell.feature, cell.together} & traits else "SPC407"
    assert (code, (f"{cell.reason} ({cell.source})",)) in [(one.code, one.notes) for one in found]
    assert {one.code for one in found} <= {"SPC407", "SPC430", "SPC414"}


@pytest.mark.parametrize("engine", ["torch", "deepspeed", "xla"])
@pytest.mark.parametrize("name", [name for name in BROUGHT if name not in ("cpu", "fp16", "fp8")])
def test_what_a_stage_brings_is_no_hindrance_where_nothing_is_divided(engine: str, name: str) -> None:
    assert errors(engine, name) == (["SPC430"] if (engine, name) in ALONE else [])
