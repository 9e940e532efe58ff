"""Kernels that are faster on this machine than the ones PyTorch would take, applied from outside to a generated model.

A generated program is plain PyTorch and runs without them. Each is chosen by what is known before the first step
(device, sizes, precision, whether the program is compiled) and never by a measurement: a resumed run takes the same.

- `products`: fp32 matrix products by oneDNN, where MKL leaves half of the CPU unused.
- `attention`: in blocks of queries, in compiled programs in bf16 on a CPU.
- `activations`: GELU's tanh form, in compiled programs on a CPU.
- `tables`: what follows from positions alone is computed once a forward pass, in compiled programs on any device.
- `allocation`: memory that a step gives back is kept for the next one, on a CPU.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from runners.kernels import activations, allocation, attention, products, tables


def use_fast_kernels(generated: type[nn.Module], model: nn.Module, place: torch.device, *, compiled: bool) -> None:
    """Let a generated model compute with what suits this machine; names and types of its weights stay.

    `model` is what this process has of one of the `generated` class. To be called before its first step: the compiler
    reads the program then. A program whose functions a layout has already exchanged (ring attention) keeps those.
    """
    program = cast("Any", generated).forward.__globals__
    if compiled:
        tables.compute_once(program)
    if place.type != "cpu":
        return
    allocation.keep_freed_memory()
    if program.get("F", functional) is functional:
        program["F"] = _functions(program["F"])
    if products.suits_this_machine():
        products.replace(model)


def _functions(of: ModuleType) -> ModuleType:
    """`torch.nn.functional` as the program sees it. Each function decides by its arguments, at every call."""
    seen = ModuleType(of.__name__)
    vars(seen).update(vars(of))
    seen.__dict__["gelu"] = activations.gelu
    if products.suits_this_machine():
        seen.__dict__["linear"] = products.linear
    if attention.suits_this_machine():
        seen.__dict__["scaled_dot_product_attention"] = attention.scaled_dot_product_attention
    return seen
