"""`deepspeed/STAGE.json`: every value written out, nothing left for the engine to decide.

There is no `optimizer`: the program hands over its own, which every engine steps with. DeepSpeed's configuration knows
one optimizer with one weight decay for all weights, norms and biases among them, which is another experiment; its own
AdamW is besides a CUDA or C++ extension that it compiles on first use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from specc import ir
from specc.backends.artifact import Artifact
from specc.ir.plan import BUCKET_ELEMENTS

_WHOLE = 2**63 - 1
"""Elements: no limit."""
_BUFFER_ELEMENTS = 100_000_000
"""Elements of one buffer between host and NVMe (DeepSpeed's default for weights)."""


def path(stage: ir.Stage) -> str:
    """Where the configuration of a stage lies."""
    return f"deepspeed/{stage.name}.json"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One configuration for each stage that has code and runs on DeepSpeed."""
    return tuple(
        Artifact(path(stage), json.dumps(configuration(plan, stage), indent=2) + "\n")
        for stage in plan.experiment.stages
        if stage.lowered and _is_written(plan.stage(stage.name).layout)
    )


_ACTIVATION_CHECKPOINTING = {
    "partition_activations": False,
    "cpu_checkpointing": False,
    "contiguous_memory_optimization": False,
    "number_checkpoints": None,
    "synchronize_checkpoint_boundary": False,
    "profile": False,
}
"""Of its own form of recomputation, which is not used: the blocks recompute themselves."""


def configuration(plan: ir.Plan, stage: ir.Stage) -> dict[str, Any]:
    """DeepSpeed's own keys (deepspeed.ai/docs/config-json); buckets in elements, not bytes.

    `train_batch_size` is as DeepSpeed counts it, which takes every rank of AutoTP for a data-parallel one.
    """
    layout, work = plan.stage(stage.name).layout, stage.work
    assert isinstance(work, ir.Training), f"{stage.name} does not train"
    assert layout is not None, f"{stage.name} has no layout"
    pipeline, tensor = layout.pipeline_parallel_size, layout.tensor_parallel_size
    return {
        "train_batch_size": work.global_batch_size * tensor,
        "train_micro_batch_size_per_gpu": layout.micro_batch_size,
        "gradient_accumulation_steps": layout.gradient_accumulation_steps,
        "managed_gradient_accumulation": True,
        "gradient_clipping": work.max_grad_norm or 0.0,
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        "gradient_allreduce_op": "mean",
        "communication_data_type": work.precision,
        "steps_per_print": None,  # the loop of the program reports
        "wall_clock_breakdown": False,
        "memory_breakdown": False,
        "dump_state": False,
        "bf16": _bf16(work),
        "fp16": _fp16(work),
        "data_types": {"grad_accum_dtype": "fp32" if layout.fp32_gradients else work.precision},
        "zero_optimization": _zero(plan.experiment.model, layout, pins=plan.cluster.device.name != "cpu"),
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "activation_checkpointing": _ACTIVATION_CHECKPOINTING,
        **({"pipeline": _pipeline(pipeline)} if pipeline > 1 else {}),
        **({"tensor_parallel": _tensor(plan.experiment.model, tensor)} if tensor > 1 else {}),
        **({"aio": _aio()} if "nvme" in (layout.offload.optimizer, layout.offload.parameters) else {}),
    }


def _is_written(layout: ir.Layout | None) -> bool:
    return layout is not None and layout.engine == "deepspeed"


_NOT_OFFERED = {
    "zero_hpz_partition_size": 1,
    "zero_quantized_weights": False,
    "zero_quantized_nontrainable_weights": False,
    "zero_quantized_gradients": False,
    "memory_efficient_linear": False,
    "pipeline_loading_checkpoint": False,
    "override_module_apply": False,
    "log_trace_cache_warnings": False,
    "enable_sanity_checks": False,
    "save_muon_momentum_buffer_in_memory": False,
}
"""What ZeRO has beside, and no key of ours asks for."""


def _zero(model: ir.Model, layout: ir.Layout, *, pins: bool) -> dict[str, Any]:
    """`pins`: a CPU copies nothing to a device, and its op for pinned memory is C++ that is compiled on first use."""
    block = model.layers[0].parameters
    persistent = 10 * model.hidden_size
    return {
        "stage": layout.zero_stage,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": BUCKET_ELEMENTS,
        "use_multi_rank_bucket_allreduce": True,
        "allgather_partitions": True,
        "allgather_bucket_size": BUCKET_ELEMENTS,
        "overlap_comm": layout.pipeline_parallel_size == 1,  # the pipeline engine has none
        "compute_grad_norm": True,
        "load_from_fp32_weights": True,
        "elastic_checkpoint": False,
        "offload_param": _offloaded_parameters(layout.offload, pins=pins),
        "offload_optimizer": _offloaded_optimizer(layout.offload, pins=pins),
        "sub_group_size": 1_000_000_000,
        # One block is gathered while the one before is computed; norms are small enough to stay.
        "stage3_prefetch_bucket_size": block,
        "stage3_max_live_parameters": 2 * block,
        "stage3_max_reuse_distance": block,
        "stage3_param_persistence_threshold": persistent,
        "stage3_model_persistence_threshold": _WHOLE,
        "stage3_gather_16bit_weights_on_model_save": False,
        "stage3_module_granularity_threshold": 0,
        "stage3_use_all_reduce_for_fetch_params": False,
        "stage3_allgather_sequential": False,
        "ignore_unused_parameters": True,
        "legacy_stage1": False,
        "round_robin_gradients": False,
        "parameter_alignment": False,
        **_NOT_OFFERED,
    }


def _offloaded_optimizer(offload: ir.Offload, *, pins: bool) -> dict[str, Any]:
    return {
        "device": offload.optimizer,
        "nvme_path": offload.nvme_path if offload.optimizer == "nvme" else None,
        "buffer_count": 4,  # weight, gradient and two moments
        "pin_memory": pins and offload.optimizer != "none",
        "pipeline_read": False,
        "pipeline_write": False,
        "fast_init": False,
        "ratio": 1.0,
        "super_offload": False,
        "cpuadam_cores_perc": 0.8,
    }


def _offloaded_parameters(offload: ir.Offload, *, pins: bool) -> dict[str, Any]:
    return {
        "device": offload.parameters,
        "nvme_path": offload.nvme_path if offload.parameters == "nvme" else None,
        "buffer_count": 5,
        "buffer_size": _BUFFER_ELEMENTS,
        "max_in_cpu": 1_000_000_000,
        "pin_memory": pins and offload.parameters != "none",
    }


def _aio() -> dict[str, Any]:
    """DeepSpeed's defaults for asynchronous reads and writes (deepspeed.ai/docs/config-json, `aio`)."""
    return {
        "block_size": 1_048_576,
        "queue_depth": 8,
        "intra_op_parallelism": 1,
        "single_submit": False,
        "overlap_events": True,
        "use_gds": False,
    }


def _bf16(work: ir.Training) -> dict[str, Any]:
    return {
        "enabled": work.precision == "bf16",
        "immediate_grad_update": False,
        "check_grad_overflow": True,
        "bf16_master_weights_and_grads": False,
        "bf16_optimizer_states": False,
    }


def _fp16(work: ir.Training) -> dict[str, Any]:
    """`loss_scale` 0 stands for a dynamic one; windows as `torch.amp.GradScaler` has them."""
    return {
        "enabled": work.precision == "fp16",
        "auto_cast": False,
        "loss_scale": 0 if work.loss_scale in ("dynamic", None) else work.loss_scale,
        "initial_scale_power": 16,
        "loss_scale_window": 2000,
        "hysteresis": 1,
        "consecutive_hysteresis": False,
        "min_loss_scale": 1,
        "fp16_master_weights_and_grads": False,
    }


def _pipeline(stages: int) -> dict[str, Any]:
    """The runner gives one layer a stage, so that `uniform` is the plan's own division."""
    return {
        "stages": stages,
        "partition": "uniform",
        "seed_layers": False,
        "activation_checkpoint_interval": 0,
        "pipe_partitioned": False,
        "grad_partitioned": False,
        "use_reentrant": False,
    }


def _tensor(model: ir.Model, size: int) -> dict[str, Any]:
    """Which matrices are divided, by name: what AutoTP's own rules would guess from the names of other models."""
    columns, gathered, rows = ([], [], [])  # type: tuple[list[str], list[str], list[str]]
    for weight in divided(model):
        kind = rows if weight.split == 1 else gathered if _is_head(model, weight.name) else columns
        kind.append(pattern(weight.name))
    partial = [pattern(name) for name in partial_gradients(model)]
    specs = (
        (columns, {"partition_type": "column"}),
        (gathered, {"partition_type": "column", "gather_output": True}),
        (rows, {"partition_type": "row"}),
        (partial, {"partition_type": "skip", "grad_allreduce": True}),
    )
    return {
        "autotp_size": size,
        "tp_overlap_comm": False,
        "vocab_parallel_lm_head": False,
        "partition_config": {
            "use_default_specs": False,
            "strict_mode": False,
            "layer_specs": [{"patterns": list(dict.fromkeys(names)), **how} for names, how in specs if names],
        },
    }


def divided(model: ir.Model) -> Iterator[ir.Weight]:
    """The matrices that AutoTP divides, first of equal blocks only: its layers are linear, so tables stay whole."""
    for _, prefix, part in model.counted():
        for weight in part.weights:
            name = prefix + weight.name
            if weight.split is not None and len(weight.sizes) == 2 and not part.kind.startswith("embedding/"):
                yield ir.Weight(name, weight.shape, weight.sizes, weight.init, weight.split)


def partial_gradients(model: ir.Model) -> Iterator[str]:
    """Weights that every rank has whole and applies to its own heads: their gradients are sums over the ranks."""
    for _, prefix, part in model.counted():
        yield from (
            prefix + weight.name for weight in part.weights if weight.name in ("q_norm.weight", "k_norm.weight")
        )


def pattern(name: str) -> str:
    """A regular expression for the name in every block, behind any prefix."""
    return r"(.*\.)?" + re.sub(r"\\\.\d+\\\.", r"\\.\\d+\\.", re.escape(name)) + "$"


def _is_head(model: ir.Model, name: str) -> bool:
    return any(name.startswith(f"{attribute}.") for attribute, _ in model.outputs)
