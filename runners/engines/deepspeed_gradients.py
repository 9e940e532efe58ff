"""What ZeRO's optimizers hold between the backward pass and the step: gradients, their norm, the loss scale.

DeepSpeed computes the norm inside its step. The loop wants it before, to judge the step; so it is asked for by the same
functions that the step asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.engines.deepspeed_package import (
    INITIAL_MICRO_STEP_ID,
    BF16_Optimizer,
    DeepSpeedZeroOptimizer_Stage3,
    combine_grad_norm_groups,
    get_global_norm_of_tensors,
)

_SCALER = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")
"""State of DeepSpeed's loss scaler (runtime/fp16/loss_scaler.py)."""


def norm(engine: Any) -> float:
    """Norm of the whole gradient before clipping, the same on every rank; infinite where an element is not finite."""
    optimizer = engine.optimizer
    if isinstance(optimizer, DeepSpeedZeroOptimizer_Stage3):
        found = float(combine_grad_norm_groups(optimizer._get_norm_groups()))
    elif isinstance(optimizer, BF16_Optimizer):
        own, _ = optimizer.get_grads_for_norm()
        found = float(get_global_norm_of_tensors(own, mpu=optimizer.mpu, norm_type=optimizer.norm_type))
    else:
        optimizer._wait_for_offload_copies()
        found = float(optimizer.scaled_global_norm())
    # DeepSpeed says -1 of a norm that is no number.
    return float("inf") if found < 0 else found / _scale(engine)


def forget(engine: Any) -> None:
    """Drop gradients that no step was made with."""
    optimizer = engine.optimizer
    if isinstance(optimizer, DeepSpeedZeroOptimizer_Stage3):
        release(engine)
        optimizer._pre_step()
        optimizer._overflow_clean_up(1.0)
    elif isinstance(optimizer, BF16_Optimizer):
        optimizer.clear_hp_grads()
        optimizer.clear_lp_grads()
    else:
        optimizer.micro_step_id = INITIAL_MICRO_STEP_ID
        optimizer.zero_grad(set_to_none=True)
        optimizer._release_preflattened_grad_buffers()
        if optimizer.cpu_offload:
            optimizer.reset_cpu_buffers()
        for held in (optimizer.averaged_gradients, optimizer.all_grad_tensors):
            held.update(dict.fromkeys(held))


def release(engine: Any) -> None:
    """Let go of weights that a forward pass without a backward pass has fetched ahead for a next one."""
    if isinstance(engine.optimizer, DeepSpeedZeroOptimizer_Stage3):
        engine.optimizer._partition_all_parameters()


def scaling(engine: Any) -> dict[str, Any]:
    """The state of the loss scaler in fp16, else nothing."""
    if not engine.fp16_enabled():
        return {}
    scaler = engine.optimizer.loss_scaler
    return {"loss_scale": {name: getattr(scaler, name) for name in _SCALER if hasattr(scaler, name)}}


def scale_as(engine: Any, scalars: Mapping[str, Any]) -> None:
    """Go on with the loss scale of a checkpoint, of which an engine of PyTorch says only `scale`."""
    saved = scalars.get("loss_scale")
    if not engine.fp16_enabled() or saved is None:
        return
    scaler = engine.optimizer.loss_scaler
    values = {"cur_scale": saved["scale"]} if "scale" in saved else saved
    for name, value in values.items():
        if hasattr(scaler, name):
            setattr(scaler, name, value)


def _scale(engine: Any) -> float:
    return float(engine.optimizer.loss_scale) if engine.fp16_enabled() else 1.0
