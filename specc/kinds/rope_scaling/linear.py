"""Position interpolation."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from specc.diagnostics import Finding
from specc.kinds.rope_scaling.turn import Turn
from specc.spec.base import Node, identity


class Linear(Node):
    """Every angle divided by the factor (Chen et al. 2023, arXiv:2306.15595, section 2.3)."""

    needs_original: ClassVar[bool] = False
    by_length: ClassVar[bool] = False

    kind: Literal["linear"] = identity("The choice.")
    factor: float = identity("How many times longer the context becomes.", gt=1.0, le=1e6)

    def check(self, turned: int) -> Iterator[Finding]:
        """Nothing to get wrong."""
        del turned
        yield from ()

    def before(self, context: int) -> str | None:
        """The context that it is meant to lengthen to `context`, as a key; None where the factor does not tell."""
        original = max(1, int(context / self.factor))
        return f"`original_context_length: {original}` ({context:,} / {self.factor:g})"

    def reach(self, original: int) -> int | None:
        """The longest context that it maps into the original one."""
        return int(original * self.factor)

    def angles(self, turn: Turn) -> dict[str, Any]:
        """Holes of the template."""
        del turn
        return {
            "rotation": "model/position/rotation_scaled.py.j2",
            "frequencies": "model/position/frequencies_linear.py.j2",
            "factor": self.factor,
            "amplitude": None,
        }
