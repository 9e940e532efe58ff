"""The plain feed-forward of GPT-2 and BERT."""

from typing import ClassVar, Literal

from specc.kinds.ffn.plain import Plain
from specc.spec.base import identity


class Gelu(Plain):
    """down(gelu(up(x))) (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""

    kept: ClassVar[int] = 2  # before and after the gelu

    kind: Literal["gelu"] = identity("The choice.")
    approximate: Literal["tanh", "none"] = identity(
        "`tanh` is GPT-2's approximation, `none` the exact function.", "tanh"
    )
