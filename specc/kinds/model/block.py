"""Where norms stand in a block, and how attention and feed-forward join the residual stream."""

from __future__ import annotations

from typing import Literal

from specc.ir.component import Component

NormPlacement = Literal["pre", "post", "sandwich", "output"]
"""Before each part, after each sum, before and after each part, or after each part only."""
Residual = Literal["sequential", "parallel", "parallel_two_norms"]
"""One part after the other, or both side by side with one norm or with two."""

_ORDERS = {
    "pre": ("attention_norm", "attention", "ffn_norm", "ffn"),
    "post": ("attention", "attention_norm", "ffn", "ffn_norm"),
    "sandwich": (
        "attention_norm",
        "attention",
        "attention_output_norm",
        "ffn_norm",
        "ffn",
        "ffn_output_norm",
    ),
    "output": ("attention", "attention_output_norm", "ffn", "ffn_output_norm"),
    "parallel": ("attention_norm", "attention", "ffn"),
    "parallel_two_norms": ("attention_norm", "attention", "ffn_norm", "ffn"),
}
"""Attributes of a block, in the order in which it makes them."""


def arrangement(placement: NormPlacement, residual: Residual) -> str:
    """The name of the block: its placement, or `parallel...` where both parts stand side by side."""
    return placement if residual == "sequential" else residual


def block(
    name: str, attention: Component, ffn: Component, norm: Component, across: Component | None = None
) -> tuple[tuple[str, Component], ...]:
    """The parts of a block under their names; `across` is the attention to another sequence, where it has one."""
    parts = {"attention": attention, "ffn": ffn}
    order = _ORDERS[name]
    if across is not None:
        parts["cross_attention"] = across
        own = [part for part in order if part.startswith("attention")]
        order = (*own, *(f"cross_{part}" for part in own), *(part for part in order if part not in own))
    return tuple((part, parts.get(part, norm)) for part in order)
