"""Multi-query attention."""

from typing import ClassVar, Literal

from specc.kinds.attention.multihead import MultiHead
from specc.spec.base import identity


class Mqa(MultiHead):
    """All query heads share one key/value head (Shazeer 2019, arXiv:1911.02150)."""

    cited: ClassVar[str] = (
        "Multi-query attention: N query heads share one key/value head (Shazeer 2019, arXiv:1911.02150)."
    )

    kind: Literal["mqa"] = identity("The choice.")

    @property
    def key_letter(self) -> str:
        """Its own, of size 1."""
        return "K"

    @property
    def key_heads(self) -> int:
        """One for all."""
        return 1
