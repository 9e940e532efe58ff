"""Language identification."""

from typing import Literal

from specc.spec.base import Node, identity


class Language(Node):
    """Keep documents in these languages (Joulin et al. 2016, fastText, arXiv:1607.01759)."""

    kind: Literal["language"] = identity("The choice.")
    keep: tuple[str, ...] = identity("ISO 639-1 codes.", min_length=1)
    min_score: float = identity("Least confidence of the classifier.", 0.65, ge=0.0, le=1.0)
