"""A number for each expert that is added to its score where experts are chosen."""

from typing import Literal

from specc.ir.component import Regulation
from specc.spec.base import Node, identity


class Bias(Node):
    """After each step it falls for overloaded experts and rises for others (Wang et al. 2024, arXiv:2408.15664).

    It changes which experts are chosen and not what they weigh; no gradient flows into it (DeepSeek-AI 2024,
    DeepSeek-V3, arXiv:2412.19437, section 2.1.2).
    """

    kind: Literal["bias"] = identity("The choice.")
    update_rate: float = identity("What a bias changes by in one step.", 0.001, gt=0.0)

    def regulation(self) -> Regulation:
        """A rule after each step."""
        return Regulation(after_step=True)
