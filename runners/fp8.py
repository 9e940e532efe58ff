"""Matrix products in 8 bits: the projections of the blocks, by torchao."""

from __future__ import annotations

import torch
from torch import nn

from runners.errors import RunError

CAPABILITY = (8, 9)
"""Of CUDA devices with products of 8-bit floats: Ada, Hopper and later."""
_MULTIPLE = 16
"""Both sizes of a matrix that the products take."""


def use_fp8(model: nn.Module, place: torch.device) -> None:
    """Let the projections of the blocks compute in fp8; names, weights and their type stay.

    Inputs and weights as e4m3, gradients as e5m2 (Micikevicius et al. 2022, arXiv:2209.05433), each scaled by its
    largest value in every step. What is no `nn.Linear` of a block stays in bf16: the head, token tables, and experts in
    one tensor. RunError where the device has no such products or torchao is not there.
    """
    if place.type != "cuda" or torch.cuda.get_device_capability(place) < CAPABILITY:
        raise RunError(
            f"fp8 needs a GPU of compute capability {CAPABILITY[0]}.{CAPABILITY[1]}, and this is {place.type}"
        )
    convert(model)


def convert(model: nn.Module, *, emulate: bool = False) -> list[str]:
    """Exchange the projections of the blocks; their names. `emulate` rounds to fp8 and multiplies in fp32, anywhere."""
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    except ImportError:
        raise RunError("fp8 needs torchao; install specc[fp8]") from None
    chosen = [name for name, module in model.named_modules() if _is_taken(name, module)]
    taken = set(chosen)
    config = Float8LinearConfig(emulate=emulate)
    convert_to_float8_training(model, config=config, module_filter_fn=lambda _, name: name in taken)
    return chosen


def _is_taken(name: str, module: nn.Module) -> bool:
    inside = name.startswith(("layers.", "encoder.layers."))
    return (
        inside
        and isinstance(module, nn.Linear)
        and not (module.in_features % _MULTIPLE or module.out_features % _MULTIPLE)
    )
