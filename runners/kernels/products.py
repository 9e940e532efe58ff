"""Matrix products of fp32 on a CPU by oneDNN instead of MKL.

PyTorch gives products of fp32 to MKL, which takes AVX2 on CPUs that are not Intel's, whatever they can. oneDNN, which
PyTorch has for 16 bits and for inference, takes AVX-512: about twice as fast, in the same precision.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

FEWEST_ROWS = 32
"""Below, a product is a few dot products of vectors, which MKL does as fast."""

_library = torch.library.Library("specc_products", "DEF")
_library.define("product(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl(_library, "product", "CPU")
def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    # Decided here, where the compiler does not see it: each number of an expert's tokens would be another graph.
    if not x.numel() or x.numel() < FEWEST_ROWS * x.shape[-1]:
        return functional.linear(x, weight, bias)
    made: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return made


@torch.library.register_fake("specc_products::product", lib=_library)
def _of_shape(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    del bias
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


PRODUCT = torch.ops.specc_products.product.default


@cache
def suits_this_machine() -> bool:
    """Whether this CPU has AVX-512, MKL does not use it, and this PyTorch has the products of oneDNN."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and _vendor() not in ("GenuineIntel", None)
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, in fp32 on a CPU by oneDNN. x is [..., I], weight [O, I], bias [O]."""
    if not _suits(x, weight):
        return functional.linear(x, weight, bias)
    made: Tensor = cast("Any", _Linear).apply(x, weight, bias)
    return made


def replace(model: nn.Module) -> None:
    """Let each `nn.Linear` of a model multiply so; it stays one."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


class Linear(nn.Linear):
    """The same with another product."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        return linear(x, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    """Three products: of the output, of the gradient of the input, and of that of the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiplied(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2).contiguous()
        return (
            _multiplied(rows, weight.t()).view(x.shape) if of_x else None,
            _multiplied(rows.t(), x.flatten(0, -2).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _multiplied(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    made: Tensor = PRODUCT(x, weight, bias)
    return made


def _suits(x: Tensor, weight: Tensor) -> bool:
    # A subclass (a DTensor, an 8-bit weight) has its own products.
    return (
        type(weight) in (Tensor, nn.Parameter)
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.dim() > 1
    )


def _vendor() -> str | None:
    """Of the CPU, such as `AuthenticAMD`; None where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), None)
