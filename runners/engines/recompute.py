"""Activations that are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

ACTIVATION_CHECKPOINTING = ("none", "full")


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a generated model, those of an encoder beside the decoder first."""
    stacks = (module for name, module in model.named_modules() if name in ("encoder.layers", "layers"))
    return [block for stack in stacks for block in stack.children()]


def recompute_activations(layers: Iterable[nn.Module]) -> None:
    """Keep only each layer's input for the backward pass, and compute the rest again. Names of weights stay."""
    for layer in layers:
        layer.forward = _recomputing(layer.forward)


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputing(*inputs: Any) -> Any:
        return checkpoint(forward, *inputs, use_reentrant=False) if torch.is_grad_enabled() else forward(*inputs)

    return recomputing
