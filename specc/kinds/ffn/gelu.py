"""The plain feed-forward of GPT-2 and BERT."""

from collections.abc import Iterator
from typing import Literal, Self

from specc.diagnostics import Finding
from specc.ir.component import Component, Dimension, Saved
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class Gelu(Node):
    """down(gelu(up(x))) (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

    kind: Literal["gelu"] = identity("The choice.")
    intermediate_size: int = identity("Inner width.", ge=1, le=2**24)
    approximate: Literal["tanh", "none"] = identity(
        "`tanh` is GPT-2's approximation, `none` the exact function.", "tanh"
    )
    bias: bool = identity("Whether the two projections have biases.", True)

    def check(self) -> Iterator[Finding]:
        """Nothing to get wrong."""
        yield from ()

    def plans(self, num_layers: int) -> tuple[Self, ...]:
        """The same in every layer."""
        return (self,) * num_layers

    def lower(self, site: Site) -> Component:
        """Two matrices; what goes into the gelu and what comes out of it is kept for the backward pass."""
        inner, width = ("I", self.intermediate_size), ("D", site.hidden_size)
        weights = (
            *linear("up_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("down_proj", width, inner, site.init.residual, 1, bias=self.bias),
        )
        return Component(
            kind="ffn/gelu",
            template="model/ffn/gelu.py.j2",
            values={"module": "FeedForward", "bias": self.bias, "approximate": self.approximate},
            dimensions=(site.width, Dimension("I", self.intermediate_size, "inner width of the feed-forward")),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            saved=(
                Saved("feed-forward input", site.hidden_size),
                Saved("feed-forward", 2 * self.intermediate_size, split=True),
            ),
            fields=values_of(self),
        )
