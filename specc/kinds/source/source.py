"""What every source of documents has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from specc import ir
from specc.diagnostics import Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node, identity


def share() -> Any:
    """The field `weight`, which every source declares itself: below its own fields, as a person writes it."""
    meaning = "Share of the mixture: all shares add up to 1, and sources that all leave it out are read as one."
    return identity(meaning, None, gt=0.0)


class SourceNode(Node):
    """What the data set asks every source."""

    lowered: ClassVar[bool]
    """Whether a runner of this version reads the kind."""

    def check(self, at: Path, tokenizer: ir.Tokenizer, context_length: int) -> Iterator[Finding]:
        """Nothing that the source alone could get wrong. `at` is where the source is written."""
        del at, tokenizer, context_length
        yield from ()

    def places(self) -> tuple[str, ...]:
        """What two sources have in common that read the same documents."""
        raise NotImplementedError
