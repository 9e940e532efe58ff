"""Sequences that grow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from specc.diagnostics import Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.sequence_length.multiple import check_length
from specc.spec.base import Node, identity
from specc.spec.quantities import InSteps, Part, Quantity, Tokens, quantity


class Linear(Node):
    """Sequences grow on a straight line to the context (Li et al. 2022, arXiv:2108.06084, section 4)."""

    kind: Literal["linear"] = identity("The choice.")
    start: Tokens = identity("Tokens of the first sequences.", quantity("64 tokens"))
    duration: Part = identity("How long they grow.", quantity("10%"))

    def parts(self) -> tuple[tuple[Path, Quantity], ...]:
        """Parts of the stage, each with its place below this section; one must not end before that before it."""
        return ((("duration",), self.duration),)

    def check(self, at: Path, context_length: int) -> Iterator[Finding]:
        """A first length that is none."""
        yield from check_length(self.start, (*at, "start"), context_length)

    def lower(self, in_steps: InSteps) -> dict[str, Any]:
        """Tokens and optimizer steps."""
        return {"linear": {"start": self.start.whole, "steps": in_steps(self.duration)}}
