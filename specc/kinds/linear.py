"""Weights of a linear projection, the same for every kind that has one."""

from __future__ import annotations

from specc.ir.component import ZEROS, Initialisation, Weight


def linear(
    name: str, out: tuple[str, int], into: tuple[str, int], init: Initialisation, split: int | None, *, bias: bool
) -> tuple[Weight, ...]:
    """The weight [out, in] of `nn.Linear`, and its bias where there is one.

    `out` and `into` are a size in dimension letters and in numbers. `split` 0 cuts the outputs over tensor-parallel
    ranks, 1 the inputs, None nothing; the bias is cut only with the outputs.
    """
    weight = Weight(f"{name}.weight", (out[0], into[0]), (out[1], into[1]), init, split)
    if not bias:
        return (weight,)
    return (weight, Weight(f"{name}.bias", (out[0],), (out[1],), ZEROS, 0 if split == 0 else None))


def matmul_flops(weights: tuple[Weight, ...]) -> int:
    """Forward FLOPs per token of the matrices among `weights`: a multiply and an add per entry."""
    return sum(2 * weight.count for weight in weights if len(weight.sizes) == 2)
