"""The heuristics of Gopher."""

from typing import Literal

from specc.spec.base import Node, identity


class GopherQuality(Node):
    """Length, symbol and stop-word rules (Rae et al. 2021, Gopher, arXiv:2112.11446, table A1)."""

    kind: Literal["gopher_quality"] = identity("The choice.")
    min_words: int = identity("Fewest words.", 50, ge=1)
    max_words: int = identity("Most words.", 100_000, ge=1)
