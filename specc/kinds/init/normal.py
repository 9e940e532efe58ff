"""One normal distribution for every matrix."""

from typing import Literal

from specc.ir.component import Initialisation
from specc.kinds.site import InitScheme
from specc.spec.base import Node, identity


class Normal(Node):
    """Every matrix from one normal distribution (Radford et al. 2018, GPT, section 4.1: std 0.02)."""

    kind: Literal["normal"] = identity("The choice.")
    std: float = identity("Standard deviation.", 0.02, gt=0.0)

    def scheme(self, num_layers: int, hidden_size: int) -> InitScheme:
        """The same distribution for all; depth plays no part."""
        del num_layers, hidden_size
        drawn = Initialisation("normal", self.std)
        return InitScheme(embedding=drawn, matrix=drawn, head=drawn, residual=drawn)
