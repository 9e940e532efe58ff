"""LongRoPE."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from specc.diagnostics import At, Finding
from specc.kinds.rope_scaling.turn import Turn
from specc.spec.base import Node, identity

_PATH = ("model", "position", "scaling")
_ROW = 8
Factors = tuple[Annotated[float, Field(gt=0.0, le=1e6)], ...]
"""One number for each pair."""


class Longrope(Node):
    """Every pair has a factor of its own, found by search: one list for sequences within the original context, one for
    longer ones (Ding et al. 2024, arXiv:2402.13753, section 3; Abdin et al. 2024, Phi-3, arXiv:2404.14219).

    A cached key stays turned by the list of the sequence as it was when the key was made. So decoding equals the full
    pass within the original context, and a prompt longer than that; one that grows beyond it differs, as in
    transformers.
    """

    needs_original: ClassVar[bool] = True
    by_length: ClassVar[bool] = True

    kind: Literal["longrope"] = identity("The choice.")
    short_factor: Factors = identity("What each pair's angle is divided by, up to the original context.")
    long_factor: Factors = identity("What each pair's angle is divided by in longer sequences.")
    attention_factor: Annotated[float, Field(gt=0.0, le=1e6)] | Literal["auto"] = identity(
        "What cosine and sine are multiplied by; `auto` is sqrt(1 + ln(s) / ln(original context)), where s is how many "
        "times longer the context is, and at least 1.",
        "auto",
    )

    def check(self, turned: int) -> Iterator[Finding]:
        """Lists with another number of factors than there are pairs."""
        for key, factors in (("short_factor", self.short_factor), ("long_factor", self.long_factor)):
            if len(factors) != turned // 2:
                headline = f"`{key}` has {len(factors)} factors, and {turned // 2} pairs are turned"
                at = (At((*_PATH, key)),)
                why = f"{turned} values of each head are turned, two a pair"
                yield Finding("SPC126", headline, at, (why,), help=f"give {turned // 2} factors")

    def before(self, context: int) -> str | None:
        """None: the original context does not follow from the lists."""
        del context
        return None

    def reach(self, original: int) -> int | None:
        """Nothing: the lists do not say what length they were found for."""
        del original
        return None

    def angles(self, turn: Turn) -> dict[str, Any]:
        """Holes of the template."""
        amplitude = _growth(turn) if self.attention_factor == "auto" else self.attention_factor
        return {
            "rotation": "model/position/rotation_by_length.py.j2",
            "frequencies": "model/position/frequencies_longrope.py.j2",
            "short": _rows(self.short_factor),
            "long": _rows(self.long_factor),
            "original": turn.original,
            "growth": "LongRoPE as in Phi-3, arXiv:2404.14219",
            "amplitude": None if amplitude == 1.0 else amplitude,
        }


def _growth(turn: Turn) -> float:
    if turn.context <= turn.original or turn.original == 1:
        return 1.0
    return math.sqrt(1 + math.log(turn.context / turn.original) / math.log(turn.original))


def _rows(factors: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """As many to a line as a line holds."""
    return tuple(factors[index : index + _ROW] for index in range(0, len(factors), _ROW))
