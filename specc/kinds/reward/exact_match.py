"""Answers that can be checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node, identity


class ExactMatch(Node):
    """1 where the answer of a completion equals a column of the data, else 0 (DeepSeek-AI 2025, arXiv:2501.12948)."""

    kind: Literal["exact_match"] = identity("The choice.")
    answer_field: str = identity("Column of the right answer.", "answer", min_length=1)
    pattern: str = identity("Regular expression whose first group is the answer.", r"####\s*(.+)", min_length=1)
    weight: float = identity("Factor of this reward in the sum.", 1.0)

    def check(self, at: Path) -> Iterator[Finding]:
        """A pattern that finds no answer in whatever text. `at` is where the reward is written."""
        where, default = (At((*at, "pattern")),), "`pattern: '####\\s*(.+)'` finds the 42 of `#### 42`"
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            yield Finding("SPC516", f"`{self.pattern}` is no regular expression: {error}", where, help=default)
            return
        if not groups:
            headline = f"`{self.pattern}` has no group, and the first group is the answer"
            yield Finding("SPC516", headline, where, help=f"put brackets around the answer: {default}")
