"""Sinusoidal positions."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.ir.component import Component
from specc.kinds.site import Frame, Heads, Site
from specc.spec.base import Node, identity, values_of


class Sinusoidal(Node):
    """A fixed vector for each position, added to the token's (Vaswani et al. 2017, arXiv:1706.03762, section 3.5).

    Value 2i is the sine and value 2i + 1 the cosine of position / 10000^(2i / hidden_size), as in the paper. Some later
    code (tensor2tensor, Marian, fairseq) has all sines before all cosines, which is another order of the columns.
    """

    adds_bias: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()

    kind: Literal["sinusoidal"] = identity("The choice.")

    def check(self, frame: Frame, heads: Heads) -> Iterator[Finding]:
        """A width that leaves a sine without its cosine."""
        del heads
        width = frame.hidden_size
        if width % 2:
            headline = f"sinusoidal positions are pairs of sine and cosine, and the model width {width:,} is odd"
            at = (At(("model", "hidden_size")), At(("model", "position", "kind")))
            yield Finding("SPC126", headline, at, help=f"use a `hidden_size` of {width + 1}")

    def lower(self, site: Site) -> Component:
        """No weights; the vectors are computed once per forward pass."""
        return Component(
            kind="position/sinusoidal",
            template=f"model/position/{'documents/' if site.apart else ''}sinusoidal.py.j2",
            dimensions=(site.width,),
            fields=values_of(self),
        )
