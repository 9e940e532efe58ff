"""`deepspeed/STAGE.json`: every value written out, nothing left for the engine to decide."""

from __future__ import annotations

import json
from typing import Any

from specc import ir
from specc.backends.artifact import Artifact
from specc.ir.plan import BUCKET_ELEMENTS


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


def configuration(plan: ir.Plan, stage: ir.Stage) -> dict[str, Any]:
    """DeepSpeed's own keys (deepspeed.ai/docs/config-json); buckets in elements, not bytes."""
    layout, work = plan.stage(stage.name).layout, stage.work
    assert isinstance(work, ir.Training), f"{stage.name} does not train"
    assert layout is not None, f"{stage.name} has no layout"
    assert not layout.is_mesh, f"{stage.name} has a mesh, which these keys would leave out"
    return {
        "train_batch_size": work.global_batch_size,
        "train_micro_batch_size_per_gpu": layout.micro_batch_size,
        "gradient_accumulation_steps": layout.gradient_accumulation_steps,
        "gradient_clipping": work.max_grad_norm or 0.0,
        "steps_per_print": work.options["log_every"],
        "wall_clock_breakdown": False,
        "bf16": {"enabled": work.precision == "bf16"},
        "fp16": _fp16(work),
        "data_types": {"grad_accum_dtype": "fp32" if layout.fp32_gradients else work.precision},
        "zero_optimization": _zero(plan.experiment.model, layout),
        "zero_allow_untested_optimizer": _needs_rules(work, plan.experiment.model),
        "zero_force_ds_cpu_optimizer": False,
        **_optimizer(work, plan),
        "activation_checkpointing": {
            "partition_activations": False,
            "cpu_checkpointing": False,
            "contiguous_memory_optimization": False,
            "synchronize_checkpoint_boundary": False,
            "profile": False,
        },
        "checkpoint": {"tag_validation": "Fail", "load_universal": False, "use_node_local_storage": False},
    }


def _is_written(layout: ir.Layout | None) -> bool:
    """A mesh has no configuration: these keys alone would run it as data parallelism."""
    return layout is not None and layout.engine == "deepspeed" and not layout.is_mesh


def _zero(model: ir.Model, layout: ir.Layout) -> dict[str, Any]:
    bucket = BUCKET_ELEMENTS
    common = {
        "stage": layout.zero_stage,
        "contiguous_gradients": True,
        "overlap_comm": True,
        "reduce_scatter": True,
        "reduce_bucket_size": bucket,
        "allgather_partitions": True,
        "allgather_bucket_size": bucket,
        "round_robin_gradients": False,
    }
    if layout.zero_stage < 3:
        return common
    block = model.layers[0].parameters
    return {
        **common,
        "sub_group_size": 1_000_000_000,
        # One block is gathered while the one before is computed; norms are small enough to stay.
        "stage3_prefetch_bucket_size": block,
        "stage3_max_live_parameters": 2 * block,
        "stage3_max_reuse_distance": block,
        "stage3_param_persistence_threshold": 10 * model.hidden_size,
        "stage3_gather_16bit_weights_on_model_save": False,
    }


def _fp16(work: ir.Training) -> dict[str, Any]:
    """`loss_scale` 0 stands for a dynamic one; windows as `torch.amp.GradScaler` has them."""
    if work.precision != "fp16":
        return {"enabled": False}
    return {
        "enabled": True,
        "auto_cast": False,
        "loss_scale": 0 if work.loss_scale == "dynamic" else work.loss_scale,
        "initial_scale_power": 16,
        "loss_scale_window": 2000,
        "hysteresis": 1,
        "consecutive_hysteresis": False,
        "min_loss_scale": 1,
    }


def _needs_rules(work: ir.Training, model: ir.Model) -> bool:
    """Whether the program must hand over its own optimizer: DeepSpeed's configuration knows one for all weights.

    Where vectors are stacked, only the program says which weights decay.
    """
    stacked = any(weight.stacked for _, _, part in model.counted() for weight in part.weights)
    return len(work.rules) > 1 or model.has_own_rates or stacked or work.optimizer.fields["kind"] != "adamw"


def _optimizer(work: ir.Training, plan: ir.Plan) -> dict[str, Any]:
    if _needs_rules(work, plan.experiment.model):
        return {}
    return {"optimizer": {"type": "AdamW", "params": _adamw(work.optimizer, plan.cluster.device)}}


def _adamw(optimizer: ir.Component, device: ir.Device) -> dict[str, Any]:
    fields = optimizer.fields
    return {
        "lr": fields["learning_rate"],
        "betas": list(fields["betas"]),
        "eps": fields["eps"],
        "weight_decay": fields["weight_decay"],
        "adam_w_mode": True,
        # DeepSpeed's fused AdamW is a CUDA extension that it compiles on first use.
        "torch_adam": device.name == "cpu",
    }
