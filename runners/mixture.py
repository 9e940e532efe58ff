"""Which source each sequence comes from: exact shares, over the whole stage or by phase, counted without a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runners.permutation import key_of, permute

PERIOD = 10_000
"""Sequences after which the mixture is exact: a weight of 0.62 means 6,200 of every 10,000 sequences."""


@dataclass(frozen=True)
class Part:
    """Sequences `first` to `stop` of a stage, which share one mixture."""

    seed: int
    number: int
    first: int
    stop: int | None
    """None for all that follow."""
    shares: tuple[int, ...]
    """How many of each PERIOD sequences come from each source."""
    before: tuple[int, ...]
    """Sequences that each source gave before this part."""

    def places(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source of each sequence, and how many sequences that source gave before it; int64 [n] each."""
        if len(self.shares) == 1:
            return np.zeros_like(indices), indices
        periods, within = np.divmod(indices - self.first, PERIOD)
        sources, ranks = np.empty_like(indices), np.empty_like(indices)
        for period in np.unique(periods).tolist():
            chosen = periods == period
            of_period, rank = self._period(period)
            sources[chosen], ranks[chosen] = of_period[within[chosen]], rank[within[chosen]]
        return sources, np.array(self.before)[sources] + periods * np.array(self.shares)[sources] + ranks

    def given(self, count: int) -> np.ndarray:
        """How many of the first `count` sequences of this part come from each source, int64 [sources]."""
        periods, rest = divmod(count, PERIOD)
        of_period = self._period(periods)[0][:rest] if rest else np.empty(0, np.int64)
        found: np.ndarray = periods * np.array(self.shares) + np.bincount(of_period, minlength=len(self.shares))
        return found

    def _period(self, period: int) -> tuple[np.ndarray, np.ndarray]:
        return _period(
            self.seed, "mixture" if self.number == 0 else f"mixture of phase {self.number}", period, self.shares
        )


@dataclass(frozen=True)
class Mixture:
    """The parts of a stage, in order."""

    parts: tuple[Part, ...]

    def places(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source of each sequence, and how many sequences that source gave before it; int64 [n] each."""
        if len(self.parts) == 1:
            return self.parts[0].places(indices)
        sources, positions = np.empty_like(indices), np.empty_like(indices)
        for part in self.parts:
            inside = (indices >= part.first) & (indices < (np.inf if part.stop is None else part.stop))
            if inside.any():
                sources[inside], positions[inside] = part.places(indices[inside])
        return sources, positions

    def given(self, count: int) -> tuple[int, ...]:
        """How many of the first `count` sequences of the stage come from each source."""
        part = next(part for part in self.parts if part.stop is None or count <= part.stop)
        found = np.array(part.before) + part.given(count - part.first)
        return tuple(found.tolist())


def mixture(seed: int, weights: Sequence[tuple[int | None, Mapping[str | None, float]]]) -> Mixture:
    """Of weights by source, each with the number of the sequence before which it ends; all name the same sources."""
    parts: list[Part] = []
    first, before = 0, (0,) * len(weights[0][1])
    for number, (stop, by_source) in enumerate(weights):
        part = Part(seed, number, first, stop, tuple(shares(by_source).values()), before)
        parts.append(part)
        if stop is not None:
            first, before = stop, tuple((np.array(before) + part.given(stop - first)).tolist())
    return Mixture(tuple(parts))


def shares(weights: Mapping[str | None, float]) -> dict[str | None, int]:
    """Whole shares of PERIOD by largest remainder; none that has a weight gets nothing."""
    total = sum(weights.values())
    exact = {source: weight / total * PERIOD for source, weight in weights.items()}
    found = {source: max(int(share), 1 if share > 0 else 0) for source, share in exact.items()}
    order = sorted((source for source in exact if exact[source] > 0), key=lambda source: found[source] - exact[source])
    for source in order[: max(PERIOD - sum(found.values()), 0)]:
        found[source] += 1
    largest = max(found, key=lambda source: found[source])
    found[largest] += PERIOD - sum(found.values())
    return found


@lru_cache(maxsize=8)
def _period(seed: int, name: str, period: int, shares: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Source of each sequence of a period, and how many of that source come before it in the period."""
    slots = permute(np.arange(PERIOD), PERIOD, key_of(seed, name, period))
    sources = np.searchsorted(np.cumsum(shares), slots, side="right")
    order = np.argsort(sources, kind="stable")
    ranks = np.empty_like(order)
    ranks[order] = np.arange(PERIOD) - np.repeat(np.cumsum(shares) - shares, shares)
    return sources, ranks
