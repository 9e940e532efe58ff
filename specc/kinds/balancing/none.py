"""Nothing beside the gradients of the loss."""

from typing import Literal

from specc.ir.component import Regulation
from specc.spec.base import Node, identity


class NoBalancing(Node):
    """Experts get the tokens that the router finds best for them (Shazeer et al. 2017, arXiv:1701.06538, section 2)."""

    kind: Literal["none"] = identity("The choice.")

    def regulation(self) -> Regulation:
        """Nothing."""
        return Regulation()
