"""Answers that can be checked."""

from __future__ import annotations

from typing import Literal

from specc.spec.base import Node, identity


class ExactMatch(Node):
    """1 where the answer of a completion equals a column of the data, else 0 (DeepSeek-AI 2025, arXiv:2501.12948)."""

    kind: Literal["exact_match"] = identity("The choice.")
    answer_field: str = identity("Column of the right answer.", "answer", min_length=1)
    pattern: str = identity("Regular expression whose first group is the answer.", r"####\s*(.+)", min_length=1)
    weight: float = identity("Factor of this reward in the sum.", 1.0)
