"""Multi-head attention."""

from typing import ClassVar, Literal

from specc.kinds.attention.multihead import MultiHead
from specc.spec.base import identity


class Mha(MultiHead):
    """Every query head has its own key/value head (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."""

    cited: ClassVar[str] = "Multi-head attention (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."

    kind: Literal["mha"] = identity("The choice.")

    @property
    def key_letter(self) -> str:
        """As many as query heads."""
        return "N"

    @property
    def key_heads(self) -> int:
        """One for each query head."""
        return self.num_heads
