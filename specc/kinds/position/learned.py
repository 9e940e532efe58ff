"""Learned absolute positions."""

from typing import ClassVar, Literal

from specc.ir.component import Component, Dimension, Weight
from specc.kinds.site import Heads, Site
from specc.spec.base import Node, identity


class Learned(Node):
    """A trained vector for each position, added to the token's (Radford et al. 2019, GPT-2, section 2.3)."""

    adds_bias: ClassVar[bool] = False

    kind: Literal["learned"] = identity("The choice.")

    def unfit(self, heads: Heads) -> str | None:
        """Nothing: the table does not touch the heads."""
        del heads
        return None

    def lower(self, site: Site) -> Component:
        """A table of context length by model width."""
        shape, sizes = ("C", "D"), (site.context_length, site.hidden_size)
        return Component(
            kind="position/learned",
            template="model/position/learned.py.j2",
            dimensions=(Dimension("C", site.context_length, "positions"), site.width),
            weights=(Weight("weight", shape, sizes, site.init.embedding),),
            fields=self.model_dump(),
        )
