"""YaRN."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from specc.diagnostics import At, Finding
from specc.kinds.rope_scaling.turn import Turn
from specc.spec.base import Node, identity

_PATH = ("model", "position", "scaling")


class Yarn(Node):
    """Fast pairs keep their angle, slow ones are divided by the factor, with a ramp in between, and queries and keys
    grow a little (Peng et al. 2023, arXiv:2309.00071, sections 3.2 and 3.4).
    """

    needs_original: ClassVar[bool] = True
    by_length: ClassVar[bool] = False

    kind: Literal["yarn"] = identity("The choice.")
    factor: float = identity("How many times longer the context becomes.", gt=1.0, le=1e6)
    beta_fast: float = identity(
        "Turns within the original context from which a pair keeps its angle.", 32.0, ge=1e-6, le=1e6
    )
    beta_slow: float = identity("Turns below which a pair's angle is divided by the factor.", 1.0, ge=1e-6, le=1e6)
    attention_factor: Annotated[float, Field(gt=0.0, le=1e6)] | Literal["auto"] = identity(
        "What cosine and sine are multiplied by; `auto` is 0.1 ln(factor) + 1.", "auto"
    )
    truncate: bool = identity(
        "Whether the ramp begins and ends at whole pairs, as in the authors' code; gpt-oss has it end between pairs.",
        True,
    )

    def check(self, turned: int) -> Iterator[Finding]:
        """Bands in the wrong order."""
        del turned
        if self.beta_slow >= self.beta_fast:
            headline = f"`beta_slow` {self.beta_slow:g} is not below `beta_fast` {self.beta_fast:g}"
            at = (At((*_PATH, "beta_slow")), At((*_PATH, "beta_fast")))
            why = "pairs that turn more often than `beta_fast` are kept, those below `beta_slow` are stretched"
            yield Finding("SPC116", headline, at, (why,), help="the paper uses `beta_fast: 32` and `beta_slow: 1`")

    def before(self, context: int) -> str | None:
        """The context that it is meant to lengthen to `context`, as a key; None where the factor does not tell."""
        original = max(1, int(context / self.factor))
        return f"`original_context_length: {original}` ({context:,} / {self.factor:g})"

    def reach(self, original: int) -> int | None:
        """The longest context that it is meant for."""
        return int(original * self.factor)

    def angles(self, turn: Turn) -> dict[str, Any]:
        """Holes of the template."""
        first, last = _pair(self.beta_fast, turn), _pair(self.beta_slow, turn)
        if self.truncate:
            first, last = math.floor(first), math.ceil(last)
        low, high = max(first, 0), min(last, turn.values - 1)
        grown = self.attention_factor == "auto"
        amplitude = 0.1 * math.log(self.factor) + 1.0 if self.attention_factor == "auto" else self.attention_factor
        return {
            "rotation": "model/position/rotation_scaled.py.j2",
            "frequencies": "model/position/frequencies_yarn.py.j2",
            "factor": self.factor,
            "original": turn.original,
            "low": low,
            "high": high,
            "width": high - low or 0.001,
            "beta_fast": self.beta_fast,
            "beta_slow": self.beta_slow,
            "growth": f"{f'0.1 ln({self.factor:g}) + 1: ' if grown else ''}YaRN, section 3.4",
            "amplitude": None if amplitude == 1.0 else amplitude,
        }


def _pair(turns: float, turn: Turn) -> float:
    """The pair that turns so often within the original context (section 3.2, equation 17 solved for the pair)."""
    return turn.values * math.log(turn.original / (turns * 2 * math.pi)) / (2 * math.log(turn.theta))
