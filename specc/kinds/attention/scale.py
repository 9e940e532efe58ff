"""What scores are multiplied by, as a person writes it."""

from __future__ import annotations

from typing import Literal

from specc.ir.component import Expression


def written(scale: float | Literal["auto"], head_dim: int, letter: str) -> float | Expression | None:
    """A scale by the size of a head or another whole number that it comes from; None for 1 / sqrt(head_dim)."""
    if scale == "auto":
        return None
    if scale == 1 / head_dim:
        return Expression(f"1 / {letter}")
    root = round(scale**-2)
    if root > 1 and scale == root**-0.5:
        return Expression(f"{letter if root == head_dim else root}**-0.5")
    return scale
