"""Activations that are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from runners.kernels import attention, products

ACTIVATION_CHECKPOINTING = ("none", "selective", "full")

_aten = torch.ops.aten
PRODUCTS = (
    _aten.mm.default,
    _aten.bmm.default,
    _aten.addmm.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    _aten._scaled_dot_product_attention_math.default,
    torch.ops.higher_order.flex_attention,
    products.PRODUCT,
    attention.ATTENTION,
)
"""Matrix products, and attention by each of PyTorch's kernels."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a generated model, those of an encoder beside the decoder first."""
    stacks = (module for name, module in model.named_modules() if name in ("encoder.layers", "layers"))
    return [block for stack in stacks for block in stack.children()]


def recompute_activations(layers: Iterable[nn.Module], how: str = "full") -> None:
    """Keep less of each layer for the backward pass, and compute the rest again. Names of weights stay.

    `full` keeps a layer's input; `selective` also what matrix products and attention give, which cost most to compute
    (Korthikanti et al. 2022, arXiv:2205.05198, section 5); `none` changes nothing.
    """
    if how == "none":
        return
    kept = {"context_fn": _keeping_products} if how == "selective" else {}
    for layer in layers:
        layer.forward = _recomputing(layer.forward, kept)


def compile_blocks(layers: Iterable[nn.Module]) -> None:
    """Let torch.compile make one kernel of many in each layer. Hooks around a layer stay outside, and names stay."""
    for layer in layers:
        layer.forward = torch.compile(layer.forward)


def _recomputing(forward: Callable[..., Any], kept: Mapping[str, Any]) -> Callable[..., Any]:
    def recomputing(*inputs: Any) -> Any:
        return (
            checkpoint(forward, *inputs, use_reentrant=False, **kept) if torch.is_grad_enabled() else forward(*inputs)
        )

    return recomputing


def _keeping_products() -> tuple[Any, Any]:
    pair: tuple[Any, Any] = create_selective_checkpoint_contexts(list(PRODUCTS))  # type: ignore[no-untyped-call]
    return pair
