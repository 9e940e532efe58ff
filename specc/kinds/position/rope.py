"""Rotary position embedding."""

from typing import ClassVar, Literal

from specc.ir.component import Component, Dimension
from specc.kinds.site import Heads, Site
from specc.spec.base import Node, identity


class Rope(Node):
    """Queries and keys turned by an angle that grows with position (Su et al. 2021, arXiv:2104.09864, section 3.2).

    Dimensions are paired in halves, as in Llama and GPT-NeoX.
    """

    adds_bias: ClassVar[bool] = False

    kind: Literal["rope"] = identity("The choice.")
    rope_theta: float = identity("Base of the wavelengths.", 10000.0, gt=1.0)

    def unfit(self, heads: Heads) -> str | None:
        """Dimensions turn in pairs, so a head needs an even number of them."""
        return (
            None if heads.head_dim % 2 == 0 else f"rotary positions need an even head size, and {heads.head_dim} is odd"
        )

    def lower(self, site: Site) -> Component:
        """No weights; the tables are computed once per forward pass."""
        return Component(
            kind="position/rope",
            template="model/position/rope.py.j2",
            values={"theta": self.rope_theta},
            dimensions=(Dimension("H", site.heads.head_dim, "values per head"),),
            fields=self.model_dump(),
        )
