"""A loss that is smallest where every expert gets as many tokens."""

from typing import Literal

from specc.ir.component import Regulation
from specc.spec.base import Node, identity


class Loss(Node):
    """E times the sum over experts of load times mean score (Fedus et al. 2021, arXiv:2101.03961, section 2.2).

    Load and score are means over the tokens of one forward pass in all layers, as in `transformers`, so that they are
    of a micro-batch where gradients accumulate.
    """

    kind: Literal["loss"] = identity("The choice.")
    coefficient: float = identity(
        "What the loss is multiplied by before it is added to that of the tokens.", 0.01, gt=0.0
    )

    def regulation(self) -> Regulation:
        """A loss of the model."""
        return Regulation(auxiliary_loss=self.coefficient)
