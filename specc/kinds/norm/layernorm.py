"""Layer normalisation."""

from typing import Literal

from specc.ir.component import ONES, ZEROS, Component, Saved, Weight
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class LayerNorm(Node):
    """(x - mean) / std times a weight, plus a bias (Ba et al. 2016, arXiv:1607.06450)."""

    kind: Literal["layernorm"] = identity("The choice.")
    eps: float = identity("Added to the variance.", 1e-5, gt=0.0)

    def lower(self, site: Site) -> Component:
        """A weight and a bias of model width; the forward pass keeps its input."""
        width = site.hidden_size
        return Component(
            kind="norm/layernorm",
            template="model/norm/layernorm.py.j2",
            values={"module": "LayerNorm", "eps": self.eps},
            dimensions=(site.width,),
            weights=(Weight("weight", ("D",), (width,), ONES), Weight("bias", ("D",), (width,), ZEROS)),
            saved=(Saved("norm input", width),),
            fields=values_of(self),
        )
