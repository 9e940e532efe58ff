"""Random numbers of one row: the same on every machine, in every process, whenever they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np


@dataclass(frozen=True)
class Draws:
    """Numbers that only (seed, purpose, index) decide, in the order in which they are drawn.

    The counter-based generator Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3")
    under a hashed key. Only its raw numbers are used: NumPy keeps those as they are, and may change what it makes of
    them (NEP 19).
    """

    seed: int
    purpose: str
    index: int

    @cached_property
    def _raw(self) -> np.random.Philox:
        """Made at the first draw: an objective that draws nothing pays nothing."""
        digest = sha256(f"{self.seed}/{self.purpose}/{self.index}".encode()).digest()
        return np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def uniform(self, count: int) -> np.ndarray:
        """Numbers in [0, 1), float64 [count], of 53 random bits each."""
        return (self._raw.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included; above a range of 2^53 some would come up more often."""
        return low + int(self.uniform(1)[0] * (high - low + 1))

    def choose(self, count: int, size: int) -> np.ndarray:
        """`size` different numbers of 0..count-1 in rising order, int64; every choice is as likely."""
        order = np.argsort(self._raw.random_raw(count), kind="stable")
        return np.sort(order[:size])
