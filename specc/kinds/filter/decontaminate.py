"""Removal of evaluation data from training data."""

from collections.abc import Iterator
from typing import Literal

from specc.diagnostics import Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node, identity


class Decontaminate(Node):
    """Drop documents that share an n-gram with an evaluation set of this spec (Brown et al. 2020, appendix C)."""

    kind: Literal["decontaminate"] = identity("The choice.")
    ngram: int = identity("Words per n-gram.", 13, ge=1)

    def check(self, at: Path) -> Iterator[Finding]:
        """Nothing to get wrong."""
        del at
        yield from ()
