"""What every source of documents has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from specc import ir
from specc.diagnostics import Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node, identity


class SourceNode(Node):
    """Fields of every source, and what a runner makes of its kind."""

    lowered: ClassVar[bool]
    """Whether a runner of this version reads the kind."""

    weight: float | None = identity(
        "Share of the mixture; shares add up to 1, and none in all of them pools the sources.", None, gt=0.0
    )

    def check(self, at: Path, tokenizer: ir.Tokenizer, context_length: int) -> Iterator[Finding]:
        """Nothing that the source alone could get wrong. `at` is where the source is written."""
        del at, tokenizer, context_length
        yield from ()

    def places(self) -> tuple[str, ...]:
        """What two sources have in common that read the same documents."""
        raise NotImplementedError
