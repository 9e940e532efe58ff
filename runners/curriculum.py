"""What changes in the data while a stage trains: pure functions of the step, with the numbers of one experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

MULTIPLE = 8
"""Lengths are multiples of this: matrix units want it (Li et al. 2022, arXiv:2108.06084, section 4)."""


@dataclass(frozen=True)
class LinearLength:
    """Sequences grow on a straight line (Li et al. 2022, "The stability-efficiency dilemma", arXiv:2108.06084)."""

    start: int
    """Tokens."""
    steps: int
    """Optimizer steps until they are whole."""

    def at(self, step: int, whole: int) -> int:
        """Tokens of a row at most in a step, where sequences of `whole` tokens are read."""
        if step >= self.steps:
            return whole
        return self.start + (whole - self.start) * step // self.steps


@dataclass(frozen=True)
class SteppedLength:
    """Sequences of fixed lengths one after the other, and whole ones after the last (the short and the long sequences
    of Devlin et al. 2019, BERT, arXiv:1810.04805, appendix A.2).
    """

    steps: tuple[tuple[int, int], ...]
    """The step before which a length ends, and the length in tokens; rising."""

    def at(self, step: int, whole: int) -> int:
        """Tokens of a row at most in a step, where sequences of `whole` tokens are read."""
        return next((length for until, length in self.steps if step < until), whole)


@dataclass(frozen=True)
class Phase:
    """A part of a stage with weights of its own for the sources."""

    until: int | None
    """The step before which it ends; None for the last."""
    weights: Mapping[str, float]
    """By source; one that is not named gives nothing."""


@dataclass(frozen=True)
class Difficulty:
    """Easy sequences first: of those sorted by difficulty, each step draws among a part that grows (Platanios et al.
    2019, "Competence-based curriculum learning", arXiv:1903.09848, section 2).
    """

    score: str
    """rarity: how rare the tokens are, each by itself; compression: how badly zlib compresses them."""
    pacing: str
    """sqrt or linear."""
    start: float
    """Share of the sequences that the first step draws among."""
    steps: int
    """Optimizer steps after which all are in use, each once an epoch."""

    def competence(self, step: int) -> float:
        """Share of the sequences that a step draws among (equations 1 and 2)."""
        done = step / self.steps
        if self.pacing == "linear":
            return min(1.0, self.start + (1.0 - self.start) * done)
        return min(1.0, math.sqrt(self.start**2 + (1.0 - self.start**2) * done))


@dataclass(frozen=True)
class GrowingVocabulary:
    """Few merges of the tokenizer first, and all of them after the last step (`runners.vocabulary`)."""

    steps: tuple[tuple[int, int], ...]
    """The step before which a vocabulary ends, and how many merges it has; rising."""

    def merges(self, step: int) -> int | None:
        """Merges in use in a step; None for all."""
        return next((merges for until, merges in self.steps if step < until), None)


@dataclass(frozen=True)
class Curriculum:
    """All that a stage changes; nothing by itself."""

    sequence_length: LinearLength | SteppedLength | None = None
    mixture: tuple[Phase, ...] = ()
    difficulty: Difficulty | None = None
    vocabulary: GrowingVocabulary | None = None

    def parts(self, step: int, whole: int) -> int:
        """How many rows a sequence of `whole` tokens is cut into: the fewest that are not longer than asked for.

        Cutting keeps the tokens of a step, and loses none (`seqlen_reshape` of Li et al. 2022, "DeepSpeed Data
        Efficiency", arXiv:2212.03597, section 3.1; the first paper drops what is beyond the length).
        """
        if self.sequence_length is None:
            return 1
        length = self.sequence_length.at(step, whole)
        return 1 if length >= whole else math.ceil(whole / max(length // MULTIPLE * MULTIPLE, MULTIPLE))


NOTHING = Curriculum()


def row_length(whole: int, parts: int) -> int:
    """Tokens of each of `parts` rows that a sequence of `whole` tokens is cut into; the last one may be filled up."""
    return whole if parts == 1 else math.ceil(whole / parts / MULTIPLE) * MULTIPLE
