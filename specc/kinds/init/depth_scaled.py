"""Normal, with smaller matrices where a block writes into the residual stream."""

import math
from typing import Literal

from specc.ir.component import Initialisation
from specc.kinds.site import InitScheme
from specc.spec.base import Node, identity


class DepthScaled(Node):
    """Normal, the matrices that write into the residual stream divided by sqrt(2 x layers) (GPT-2, section 2.3)."""

    kind: Literal["depth_scaled"] = identity("The choice.")
    std: float = identity("Standard deviation of the other matrices.", 0.02, gt=0.0)

    def scheme(self, num_layers: int, hidden_size: int) -> InitScheme:
        """Two residual writes a block: attention and feed-forward."""
        del hidden_size
        drawn = Initialisation("normal", self.std)
        residual = Initialisation("normal", self.std / math.sqrt(2 * num_layers))
        return InitScheme(embedding=drawn, matrix=drawn, head=drawn, residual=residual)
