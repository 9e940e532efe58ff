"""Documents one after the other, cut where a sequence is full."""

from typing import Literal

from specc.kinds.packing.base import PackingNode
from specc.spec.base import identity


class Concatenate(PackingNode):
    """All documents of a source one after the other, cut into sequences wherever these are full (Brown et al. 2020,
    GPT-3, arXiv:2005.14165, appendix B).
    """

    kind: Literal["concatenate"] = identity("The choice; a packing without a kind is of this one.", "concatenate")
