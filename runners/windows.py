"""Sequences of the same length cut out of the tokens of a source, documents one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runners.data import DataSet, Split
from runners.errors import RunError
from runners.tokens import Tokens


@dataclass(frozen=True)
class Windows:
    """Windows side by side: each begins with the last target of the one before it."""

    tokens: Tokens
    start: int
    """Place of the first token."""
    count: int
    context_length: int

    def __len__(self) -> int:
        return self.count

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """int64 [n, context_length + 1]"""
        return self.tokens.rows(self.start + numbers * self.context_length, self.context_length + 1)


def windows_of(data: DataSet, source: str | None, context_length: int) -> Windows:
    """The training windows of a source, or of all sources as one."""
    split: Split = data.train
    start = 0 if source is None else split.ranges[source].start
    tokens = split.tokens if source is None else split.ranges[source].tokens
    count = (tokens - 1) // context_length
    if count < 1:
        name = "+".join(split.ranges) if source is None else source
        raise RunError(
            f"source `{name}` holds {tokens:,} training tokens, fewer than one sequence of {context_length + 1:,}"
        )
    return Windows(split.open(), start, count, context_length)
