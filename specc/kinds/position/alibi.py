"""Attention with linear biases."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import Finding
from specc.ir.component import Component, Dimension
from specc.kinds.site import Frame, Heads, Site
from specc.spec.base import Node, identity, values_of


class Alibi(Node):
    """A penalty on the scores that grows with distance, one slope a head (Press et al. 2022, arXiv:2108.12409).

    The attention kernel takes the bias in the type of the queries: in bf16 it keeps 8 bits, as in BLOOM, so that the
    flattest head of 64 sees distances beyond 256 in steps.
    """

    adds_bias: ClassVar[bool] = True

    kind: Literal["alibi"] = identity("The choice.")

    def check(self, frame: Frame, heads: Heads) -> Iterator[Finding]:
        """Nothing: slopes exist for every number of heads."""
        del frame, heads
        yield from ()

    def lower(self, site: Site) -> Component:
        """No weights; one bias [heads, context, context], shared by all layers."""
        heads = site.heads.num_heads
        largest = 2 ** int(math.log2(heads))
        slopes = "alibi_slopes" if largest == heads else "alibi_slopes_interleaved"
        return Component(
            kind="position/alibi",
            template="model/position/alibi.py.j2",
            values={"slopes": f"model/position/{slopes}.py.j2", "largest": largest, "rest": heads - largest},
            dimensions=(Dimension("N", heads, "query heads"),),
            bias_per_layer_stack=heads,
            fields=values_of(self),
        )
