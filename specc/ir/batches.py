"""How many sequences each optimizer step sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil


@dataclass(frozen=True)
class BatchSizes:
    """Batches that may be smaller at the beginning."""

    final: Fraction
    """Sequences of a step after all phases; whole in a sound spec."""
    phases: tuple[tuple[int, int], ...] = ()
    """Steps, and sequences of each of them, in order."""

    def steps_for(self, sequences: Fraction) -> int:
        """The fewest steps that see as many sequences."""
        done, seen = 0, 0
        for steps, size in self.phases:
            if seen + steps * size >= sequences:
                return done + ceil((sequences - seen) / size)
            done, seen = done + steps, seen + steps * size
        return done + ceil((sequences - seen) / self.final)

    def sequences(self, steps: int) -> int:
        """Sequences that the first `steps` steps see."""
        return sum(taken * size for taken, size in self.within(steps))

    def within(self, steps: int) -> Iterator[tuple[int, int]]:
        """Steps and their size, phase by phase, of the first `steps`."""
        left = steps
        for count, size in (*self.phases, (steps, int(self.final))):
            taken = min(left, count)
            if taken:
                yield taken, size
            left -= taken


def ramp(start: int, increment: int, final: int, sequences: Fraction) -> Iterator[tuple[int, int]]:
    """Phases of a batch that grows by `increment` after equal shares of `sequences` (Megatron-LM, rampup_batch_size).

    A phase ends with the first step after which its share and those before it were seen.
    """
    share = sequences * increment / (final - start)
    seen = 0
    for index, size in enumerate(range(start, final, increment), start=1):
        steps = max(0, ceil((index * share - seen) / size))
        seen += steps * size
        if steps:
            yield steps, size


def even_ramp(start: int, increment: int, final: int, steps: int) -> Iterator[tuple[int, int]]:
    """Phases of as many steps each, to within one."""
    sizes = range(start, final, increment)
    for index, size in enumerate(sizes):
        taken = steps * (index + 1) // len(sizes) - steps * index // len(sizes)
        if taken:
            yield taken, size
