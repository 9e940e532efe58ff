"""Export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import Finding
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import Mention
from specc.spec.base import Node, identity


class Export(Node):
    """A model in another tool's format (Wolf et al. 2020, transformers, arXiv:1910.03771)."""

    lowered: ClassVar[bool] = False
    leaves: ClassVar[str | None] = None

    kind: Literal["export"] = identity("The choice.")
    base: str = identity("Stage whose model is exported.", alias="from")
    format: Literal["huggingface"] = identity("Format of the files that are written.")

    def mentions(self) -> tuple[Mention, ...]:
        """The stage whose model is exported."""
        return (Mention(("from",), self.base, "stage"),)

    def reads(self, context: StageContext) -> tuple[str, ...]:
        """No data."""
        del context
        return ()

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """Nothing that references do not show."""
        del name, context_length, datasets
        yield from ()

    def lower(self, context: StageContext) -> ir.Export:
        """The format alone."""
        del context
        return ir.Export(self.format)
