"""Train on."""

from typing import Literal

from specc.ir.component import Component
from specc.spec.base import Node, identity


class Ignore(Node):
    """A high loss is one like any other; one that is no number ends the run (Zhang et al. 2022, arXiv:2205.01068)."""

    kind: Literal["ignore"] = identity("The choice.")

    def lower(self) -> Component:
        """Nothing has to be said: it is what a runner does unless it is told otherwise."""
        return Component("spike/ignore", fields={"kind": self.kind})
