"""The heuristics of Gopher."""

from collections.abc import Iterator
from typing import Literal

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node, identity


class GopherQuality(Node):
    """Length, symbol and stop-word rules (Rae et al. 2021, Gopher, arXiv:2112.11446, table A1)."""

    kind: Literal["gopher_quality"] = identity("The choice.")
    min_words: int = identity("Fewest words.", 50, ge=1)
    max_words: int = identity("Most words.", 100_000, ge=1)

    def check(self, at: Path) -> Iterator[Finding]:
        """Limits that no document meets."""
        if self.min_words > self.max_words:
            yield Finding(
                "SPC215",
                f"no document has at least {self.min_words:,} and at most {self.max_words:,} words",
                (At((*at, "min_words")), At((*at, "max_words"))),
                help="the limits of Gopher are `min_words: 50` and `max_words: 100000`",
            )
