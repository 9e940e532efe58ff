"""Activations of compiled programs on a CPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """`torch.nn.functional.gelu`; compiled and in its tanh form, by a sigmoid (Hendrycks and Gimpel, arXiv:1606.08415).

    (1 + tanh(u)) / 2 is sigmoid(2u), which costs one exponential: a compiled tanh costs about twice as much.
    """
    taken = torch.compiler.is_compiling() and x.device.type == "cpu" and x.dtype != torch.float64
    if approximate != "tanh" or not taken:
        return functional.gelu(x, approximate=approximate)
    wide = x.float()
    return (wide * torch.sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (wide + 0.044715 * wide**3))).to(x.dtype)
