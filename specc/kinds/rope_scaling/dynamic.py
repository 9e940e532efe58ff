"""Dynamic NTK scaling."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.kinds.rope_scaling.turn import Turn
from specc.spec.base import Node, identity

_PATH = ("model", "position")


class Dynamic(Node):
    """A base that grows with the sequence once it is longer than the original context (Peng et al. 2023, YaRN,
    arXiv:2309.00071, section 3.3).

    A cached key stays turned by the base of the sequence as it was when the key was made. So decoding equals the full
    pass within the original context, and beyond it differs from that, as it does in transformers.
    """

    needs_original: ClassVar[bool] = True
    by_length: ClassVar[bool] = True

    kind: Literal["dynamic"] = identity("The choice.")
    factor: float = identity("How strongly the base grows.", gt=1.0, le=1e6)

    def check(self, turned: int) -> Iterator[Finding]:
        """A single pair, for which the exponent of the growth has no value."""
        if turned == 2:
            headline = "`dynamic` scaling needs at least 4 turned values per head, and there are 2"
            at = (At((*_PATH, "scaling", "kind")),)
            why = "the base grows with the power n / (n - 2) of the length, n turned values"
            yield Finding("SPC125", headline, at, (why,), help="turn more values, or use `kind: linear`")

    def before(self, context: int) -> str | None:
        """None: the original context does not follow from the factor."""
        del context
        return None

    def reach(self, original: int) -> int | None:
        """Nothing: it follows the sequence."""
        del original
        return None

    def angles(self, turn: Turn) -> dict[str, Any]:
        """Holes of the template."""
        return {
            "rotation": "model/position/rotation_by_length.py.j2",
            "frequencies": "model/position/frequencies_dynamic.py.j2",
            "factor": self.factor,
            "less": self.factor - 1,
            "original": turn.original,
            "amplitude": None,
        }
