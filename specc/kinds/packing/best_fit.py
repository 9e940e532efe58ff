"""Documents whole where they fit."""

from typing import ClassVar, Literal

from specc.kinds.packing.base import PackingNode
from specc.spec.base import identity


class BestFit(PackingNode):
    """Documents whole where they fit, by best-fit decreasing; those that are longer than a sequence are cut into
    sequences and a rest (Ding et al. 2024, arXiv:2404.10830, section 3). What room is left asks for nothing.
    """

    fills_up: ClassVar[bool] = True

    kind: Literal["best_fit"] = identity("The choice.")
