"""YaRN."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from specc.diagnostics import At, Finding
from specc.spec.base import Node, identity

_PATH = ("model", "position", "scaling")


class Yarn(Node):
    """Fast pairs keep their angle, slow ones are divided by the factor, with a ramp in between, and queries and keys
    grow a little (Peng et al. 2023, arXiv:2309.00071, sections 3.2 and 3.4).
    """

    needs_original: ClassVar[bool] = True

    kind: Literal["yarn"] = identity("The choice.")
    factor: float = identity("How many times longer the context becomes.", gt=1.0, le=1e6)
    beta_fast: float = identity(
        "Turns within the original context from which a pair keeps its angle.", 32.0, ge=1e-6, le=1e6
    )
    beta_slow: float = identity("Turns below which a pair's angle is divided by the factor.", 1.0, ge=1e-6, le=1e6)
    attention_factor: Annotated[float, Field(gt=0.0, le=1e6)] | Literal["auto"] = identity(
        "What cosine and sine are multiplied by; `auto` is 0.1 ln(factor) + 1.", "auto"
    )

    def check(self) -> Iterator[Finding]:
        """Bands in the wrong order."""
        if self.beta_slow >= self.beta_fast:
            headline = f"`beta_slow` {self.beta_slow:g} is not below `beta_fast` {self.beta_fast:g}"
            at = (At((*_PATH, "beta_slow")), At((*_PATH, "beta_fast")))
            why = "pairs that turn more often than `beta_fast` are kept, those below `beta_slow` are stretched"
            yield Finding("SPC116", headline, at, (why,), help="the paper uses `beta_fast: 32` and `beta_slow: 1`")

    def reach(self, original: int) -> int | None:
        """The longest context that it is meant for."""
        return int(original * self.factor)

    def angles(self, theta: float, head_dim: int, original: int) -> dict[str, Any]:
        """Holes of the template; the ramp runs over whole pairs, as in the authors' code."""
        low = max(math.floor(_pair(self.beta_fast, theta, head_dim, original)), 0)
        high = min(math.ceil(_pair(self.beta_slow, theta, head_dim, original)), head_dim - 1)
        grown = 0.1 * math.log(self.factor) + 1.0
        return {
            "rotation": "model/position/rotation_scaled.py.j2",
            "frequencies": "model/position/frequencies_yarn.py.j2",
            "factor": self.factor,
            "original": original,
            "low": low,
            "high": high,
            "width": high - low or 0.001,
            "amplitude": grown if self.attention_factor == "auto" else self.attention_factor,
        }


def _pair(turns: float, theta: float, head_dim: int, original: int) -> float:
    """The pair that turns so often within the original context (section 3.2, equation 17 solved for the pair)."""
    return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))
