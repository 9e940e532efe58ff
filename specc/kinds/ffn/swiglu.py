"""The gated feed-forward of Llama and its relatives."""

from typing import Literal

from specc.kinds.ffn.gated import Gated
from specc.spec.base import identity


class SwiGlu(Gated):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020, arXiv:2002.05202)."""

    kind: Literal["swiglu"] = identity("The choice.")
