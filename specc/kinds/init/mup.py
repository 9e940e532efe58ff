"""Maximal update parametrisation."""

import math
from typing import Literal

from specc.ir.component import Initialisation
from specc.kinds.site import InitScheme
from specc.spec.base import Node, identity


class Mup(Node):
    """Widths that share their best learning rate (Yang et al. 2022, Tensor Programs V, arXiv:2203.03466, table 8).

    With m = hidden_size / base_hidden_size, hidden matrices start with a standard deviation divided by sqrt(m) and
    learn at 1/m of the rate, and logits are divided by m; tables, vectors and an own output matrix stay as they are. A
    model of the base width is the plain one. Inner width and number of heads are meant to grow with the width; where
    heads become larger instead, `base_head_dim` makes scores shrink with 1 / head_dim (section 4).
    """

    kind: Literal["mup"] = identity("The choice.")
    base_hidden_size: int = identity("Width at which the learning rate was found.", ge=1, le=2**20)
    base_head_dim: int | None = identity(
        "Values per head of the base; `null` where heads keep their size.", None, ge=1, le=2**16
    )
    std: float = identity("Standard deviation at the base width.", 0.02, gt=0.0)
    depth_scaled: bool = identity("Whether matrices that write into the stream are divided by sqrt(2 x layers).", True)

    def scheme(self, num_layers: int, hidden_size: int) -> InitScheme:
        """Three sorts of matrices, of which two learn at a rate of their own."""
        wider = hidden_size / self.base_hidden_size
        std, rate = self.std / math.sqrt(wider), 1 / wider
        depth = math.sqrt(2 * num_layers) if self.depth_scaled else 1.0
        table = Initialisation("normal", self.std)
        return InitScheme(
            embedding=table,
            matrix=Initialisation("normal", std, rate),
            residual=Initialisation("normal", std / depth, rate),
            head=table,
            logits=1 / wider,
            base_head_dim=self.base_head_dim,
        )
