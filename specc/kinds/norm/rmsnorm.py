"""Root-mean-square normalisation."""

from typing import Literal

from specc.ir.component import ONES, Component, Saved, Weight
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class RmsNorm(Node):
    """x / rms(x) times a weight (Zhang and Sennrich 2019, arXiv:1910.07467)."""

    kind: Literal["rmsnorm"] = identity("The choice.")
    eps: float = identity("Added to the mean square.", 1e-5, gt=0.0)

    def lower(self, site: Site) -> Component:
        """One weight of model width; the forward pass keeps its input in fp32."""
        width = site.hidden_size
        return Component(
            kind="norm/rmsnorm",
            template="model/norm/rmsnorm.py.j2",
            values={"module": "RMSNorm", "eps": self.eps},
            dimensions=(site.width,),
            weights=(Weight("weight", ("D",), (width,), ONES),),
            saved=(Saved("norm input", width, 4),),
            fields=values_of(self),
        )
