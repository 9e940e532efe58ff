"""No adapter."""

from typing import Literal

from specc import ir
from specc.spec.base import Node, identity


class Full(Node):
    """Every weight is trained (Howard and Ruder 2018, arXiv:1801.06146)."""

    kind: Literal["full"] = identity("The choice.")

    def lower(self, model: ir.Model) -> ir.Component | None:
        """Nothing is added to the model."""
        del model
        return None
