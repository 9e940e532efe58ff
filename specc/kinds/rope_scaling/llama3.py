"""The scaling of Llama 3.1."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.kinds.rope_scaling.turn import Turn
from specc.spec.base import Node, identity

_PATH = ("model", "position", "scaling")


class Llama3(Node):
    """Slow pairs divided by the factor, fast ones kept, and the share of both in between follows the number of turns
    (Grattafiori et al. 2024, arXiv:2407.21783, section 3.4.2; meta-llama/llama-models, models/llama3/model.py).
    """

    needs_original: ClassVar[bool] = True
    by_length: ClassVar[bool] = False

    kind: Literal["llama3"] = identity("The choice.")
    factor: float = identity("What slow angles are divided by; 8 in Llama 3.1.", gt=1.0, le=1e6)
    low_freq_factor: float = identity("Turns within the original context below which a pair is divided.", 1.0, gt=0.0)
    high_freq_factor: float = identity("Turns from which a pair keeps its angle.", 4.0, gt=0.0)

    def check(self, turned: int) -> Iterator[Finding]:
        """Bands in the wrong order."""
        del turned
        low, high = self.low_freq_factor, self.high_freq_factor
        if low >= high:
            headline = f"`low_freq_factor` {low:g} is not below `high_freq_factor` {high:g}"
            at = (At((*_PATH, "low_freq_factor")), At((*_PATH, "high_freq_factor")))
            yield Finding("SPC116", headline, at, help="Llama 3.1 uses `low_freq_factor: 1` and `high_freq_factor: 4`")

    def before(self, context: int) -> str | None:
        """None: the original context does not follow from the factor."""
        del context
        return None

    def reach(self, original: int) -> int | None:
        """Nothing: Llama 3.1 reads 16 times its original context with a factor of 8."""
        del original
        return None

    def angles(self, turn: Turn) -> dict[str, Any]:
        """Holes of the template."""
        return {
            "rotation": "model/position/rotation_scaled.py.j2",
            "frequencies": "model/position/frequencies_llama3.py.j2",
            "factor": self.factor,
            "original": turn.original,
            "low": self.low_freq_factor,
            "high": self.high_freq_factor,
            "width": self.high_freq_factor - self.low_freq_factor,
            "amplitude": None,
        }
