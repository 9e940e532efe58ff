"""The gated feed-forward of Gemma and T5 1.1."""

from typing import Literal

from specc.kinds.ffn.gated import Gated
from specc.spec.base import identity


class GeGlu(Gated):
    """down(gelu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202)."""

    kind: Literal["geglu"] = identity("The choice.")
    approximate: Literal["tanh", "none"] = identity(
        "`tanh` is the approximation of Gemma and T5 1.1, `none` the exact function.", "tanh"
    )
