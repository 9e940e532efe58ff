"""The gated feed-forward of Llama and its relatives."""

from collections.abc import Iterator
from typing import Literal, Self

from specc.diagnostics import Finding
from specc.ir.component import Component, Dimension, Saved
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class SwiGlu(Node):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202)."""

    kind: Literal["swiglu"] = identity("The choice.")
    intermediate_size: int = identity("Inner width.", ge=1, le=2**24)
    bias: bool = identity("Whether the three projections have biases.", False)

    def check(self) -> Iterator[Finding]:
        """Nothing to get wrong."""
        yield from ()

    def plans(self, num_layers: int) -> tuple[Self, ...]:
        """The same in every layer."""
        return (self,) * num_layers

    def lower(self, site: Site) -> Component:
        """Three matrices; silu(gate), gate, up and their product are kept for the backward pass."""
        inner, width = ("I", self.intermediate_size), ("D", site.hidden_size)
        weights = (
            *linear("gate_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("up_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("down_proj", width, inner, site.init.residual, 1, bias=self.bias),
        )
        return Component(
            kind="ffn/swiglu",
            template="model/ffn/swiglu.py.j2",
            values={"module": "FeedForward", "bias": self.bias},
            dimensions=(site.width, Dimension("I", self.intermediate_size, "inner width of the feed-forward")),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            saved=(
                Saved("feed-forward input", site.hidden_size),
                Saved("feed-forward", 4 * self.intermediate_size, split=True),
            ),
            fields=values_of(self),
        )
