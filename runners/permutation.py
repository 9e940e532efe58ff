"""Pseudo-random orders that are computed place by place, for many places at once."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256

import numpy as np

ROUNDS = 6
Key = tuple[int, ...]


def permute(positions: np.ndarray, size: int, key: Key) -> np.ndarray:
    """Images of int64 `positions` under a keyed permutation of 0..size-1.

    A balanced Feistel network (Luby and Rackoff 1988) over the next even power of two, repeated until the value falls
    within the range ("cycle walking": Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 3).
    """
    half = max((size - 1).bit_length() + 1, 2) // 2
    values = _encrypted(positions.astype(np.uint64), half, key)
    while len(outside := np.flatnonzero(values >= size)):
        values[outside] = _encrypted(values[outside], half, key)
    return values.astype(np.int64)


def uniform(numbers: np.ndarray, key: Key) -> np.ndarray:
    """A number in [0, 1) for each of int64 `numbers`, float64, of 53 bits each."""
    mixed = numbers.astype(np.uint64)
    for round_key in key[:2]:
        mixed = _mix(mixed ^ np.uint64(round_key))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


@lru_cache(maxsize=256)
def key_of(seed: int, name: str, number: int) -> Key:
    """Round keys, 64 bits each."""
    digest = b"".join(sha256(f"{seed}/{name}/{number}/{half}".encode()).digest() for half in ("left", "right"))
    return tuple(int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(ROUNDS))


def _encrypted(values: np.ndarray, half: int, key: Key) -> np.ndarray:
    """Images of uint64 `values` of two halves of `half` bits."""
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> shift, values & mask
    for round_key in key:
        left, right = right, left ^ (_mix(right ^ np.uint64(round_key)) & mask)
    return left << shift | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA): every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
