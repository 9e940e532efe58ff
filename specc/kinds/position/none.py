"""No positions."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import Finding
from specc.ir.component import Component
from specc.kinds.site import Frame, Heads, Site
from specc.spec.base import Node, identity, values_of


class NoPositions(Node):
    """Nothing says where a token stands; a decoder can tell from what its causal mask lets it see (Kazemnejad et al.
    2023, arXiv:2305.19466, sections 3 and 5).
    """

    adds_bias: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    kind: Literal["none"] = identity("The choice.")

    def check(self, frame: Frame, heads: Heads) -> Iterator[Finding]:
        """Nothing to get wrong."""
        del frame, heads
        yield from ()

    def lower(self, site: Site) -> Component:
        """No weights and no code."""
        del site
        return Component(kind="position/none", template="model/position/none.py.j2", fields=values_of(self))
