"""Sequences of fixed lengths, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.sequence_length.multiple import check_length
from specc.spec.base import Node, identity, section
from specc.spec.quantities import InSteps, Part, Quantity, Tokens


class LengthStep(Node):
    """One length, up to a point of the stage."""

    until: Part = identity("Where the next length begins, from the start of the stage.")
    length: Tokens = identity("Tokens of a sequence.")


class Steps(Node):
    """Fixed lengths one after the other, and the context after the last (Devlin et al. 2019, BERT, arXiv:1810.04805,
    appendix A.2: 128 tokens for 90% of the steps).
    """

    kind: Literal["steps"] = identity("The choice.")
    lengths: tuple[LengthStep, ...] = section("Lengths in order, each longer than the one before it.", min_length=1)

    def parts(self) -> tuple[tuple[Path, Quantity], ...]:
        """Parts of the stage, each with its place below this section; one must not end before that before it."""
        return tuple((("lengths", index, "until"), step.until) for index, step in enumerate(self.lengths))

    def check(self, at: Path, context_length: int) -> Iterator[Finding]:
        """Lengths that are none, or that do not grow."""
        for index, step in enumerate(self.lengths):
            yield from check_length(step.length, (*at, "lengths", index, "length"), context_length)
        for index, (one, other) in enumerate(pairwise(self.lengths)):
            if other.length.whole <= one.length.whole:
                headline = f"a length of {other.length.whole:,} tokens follows one of {one.length.whole:,}"
                places = tuple(At((*at, "lengths", number, "length")) for number in (index + 1, index))
                yield Finding("SPC223", headline, places, help="let each length be longer than the one before it")

    def lower(self, in_steps: InSteps) -> dict[str, Any]:
        """Optimizer steps and tokens."""
        return {"stepped": tuple((in_steps(step.until), step.length.whole) for step in self.lengths)}
