"""Removal of evaluation data from training data."""

from typing import Literal

from specc.spec.base import Node, identity


class Decontaminate(Node):
    """Drop documents that share an n-gram with an evaluation set of this spec (Brown et al. 2020, appendix C)."""

    kind: Literal["decontaminate"] = identity("The choice.")
    ngram: int = identity("Words per n-gram.", 13, ge=1)
