"""Which tokens a step sees: a pure function of (seed, step), with no state to save.

A source's tokens are cut into windows of a fixed length; an epoch visits each window once, in a pseudo-random order
computed per position by a small cipher. So any process can compute any row of any step, and resuming needs a number.

Windows are cut without regard to documents: a window can hold the end of one and the beginning of the next, with the
end-of-document token between them. Attention is not masked there, so a token also sees the documents before its own in
the same window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from operator import mul

import numpy as np
import torch
from torch import Tensor

from runners.data import DataSet, Range, Split
from runners.errors import RunError

PERIOD = 10_000
"""Sequences after which the mixture is exact: a weight of 0.62 means 6,200 of every 10,000 sequences."""
ROUNDS = 6


@dataclass(frozen=True)
class Stream:
    """Part of the token file that is sampled as one."""

    name: str
    start: int
    windows: int
    per_period: int
    """How many of each PERIOD sequences come from here."""


@dataclass(frozen=True)
class Batches:
    """The order of all training sequences."""

    tokens: np.ndarray
    """uint16 or uint32 [tokens], memory-mapped."""
    streams: tuple[Stream, ...]
    seed: int
    context_length: int
    first_sequence: Callable[[int], int]
    """How many sequences come before a step."""

    def batch(self, step: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows start..stop of the batch of `step`, int64 [rows, context_length + 1]."""
        first = self.first_sequence(step)
        stop = self.first_sequence(step + 1) - first if stop is None else stop
        rows = [self._row(index) for index in range(first + start, first + stop)]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _row(self, index: int) -> np.ndarray:
        stream, position = self._place(index)
        epoch, position = divmod(position, stream.windows)
        key = _key(self.seed, stream.name, epoch)
        begin = stream.start + permute(position, stream.windows, key) * self.context_length
        return self.tokens[begin : begin + self.context_length + 1]

    def _place(self, index: int) -> tuple[Stream, int]:
        """The stream that sequence `index` comes from, and how many it gave before."""
        if len(self.streams) == 1:
            return self.streams[0], index
        period, within = divmod(index, PERIOD)
        slot = permute(within, PERIOD, _key(self.seed, "mixture", period))
        for stream in self.streams:
            if slot < stream.per_period:
                return stream, period * stream.per_period + slot
            slot -= stream.per_period
        raise AssertionError("the shares of the streams fill the period")


def training_batches(
    data: DataSet,
    seed: int,
    context_length: int,
    global_batch_size: int,
    first_sequence: Callable[[int], int] | None = None,
) -> Batches:
    """Batches over the training split, its sources mixed by weight, or all as one where none has a weight.

    `first_sequence` says how many sequences come before a step, where that is not a multiple of the batch size.
    """
    streams = _streams(data.train, data.weights, context_length)
    first_sequence = first_sequence or partial(mul, global_batch_size)
    return Batches(data.train.open(), streams, seed, context_length, first_sequence)


def validation_windows(data: DataSet, context_length: int, count: int) -> Tensor:
    """Up to `count` windows at fixed places spread over the held-out tokens, int64 [count, context_length + 1]."""
    tokens = data.validation.open()
    windows = (len(tokens) - 1) // context_length
    if windows < 1:
        raise RunError(f"data set `{data.name}` holds out {len(tokens):,} tokens, fewer than one sequence")
    chosen = np.unique(np.linspace(0, windows - 1, min(count, windows)).astype(np.int64))
    rows = [tokens[at * context_length : (at + 1) * context_length + 1] for at in chosen]
    return torch.from_numpy(np.stack(rows).astype(np.int64))


def permute(position: int, size: int, key: tuple[int, ...]) -> int:
    """Image of `position` under a keyed permutation of 0..size-1.

    A balanced Feistel network (Luby and Rackoff 1988) over the next even power of two, repeated until the value falls
    within the range ("cycle walking": Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 3).
    """
    half = max((size - 1).bit_length() + 1, 2) // 2
    mask = (1 << half) - 1
    while True:
        left, right = position >> half, position & mask
        for round_key in key:
            left, right = right, left ^ (_mix(right ^ round_key) & mask)
        position = left << half | right
        if position < size:
            return position


def _mix(value: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA): every input bit reaches every output bit."""
    value &= 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


def _key(seed: int, name: str, number: int) -> tuple[int, ...]:
    """Round keys, 64 bits each."""
    digest = b"".join(sha256(f"{seed}/{name}/{number}/{half}".encode()).digest() for half in ("left", "right"))
    return tuple(int.from_bytes(digest[8 * i : 8 * i + 8], "little") for i in range(ROUNDS))


def _streams(split: Split, weights: Mapping[str, float | None], context_length: int) -> tuple[Stream, ...]:
    given = [source for source, weight in weights.items() if weight is not None]
    if not given or len(weights) == 1:
        tokens = sum(part.tokens for part in split.ranges.values())
        return (_stream("+".join(split.ranges), Range(0, tokens, 0, 0), context_length, PERIOD),)
    missing = [source for source in weights if source not in given]
    if missing:
        raise RunError(f"source `{missing[0]}` has no weight, and `{given[0]}` has one: give all a weight, or none")
    shares = _shares({source: float(weight or 0.0) for source, weight in weights.items()})
    return tuple(_stream(name, split.ranges[name], context_length, share) for name, share in shares.items() if share)


def _stream(name: str, part: Range, context_length: int, share: int) -> Stream:
    windows = (part.tokens - 1) // context_length
    if windows < 1:
        raise RunError(f"source `{name}` holds {part.tokens:,} training tokens, fewer than one sequence")
    return Stream(name, part.start, windows, share)


def _shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Whole shares of PERIOD by largest remainder; none that has a weight gets nothing."""
    total = sum(weights.values())
    exact = {source: weight / total * PERIOD for source, weight in weights.items()}
    shares = {source: max(int(share), 1 if share > 0 else 0) for source, share in exact.items()}
    order = sorted(exact, key=lambda source: shares[source] - exact[source])
    for source in order[: max(PERIOD - sum(shares.values()), 0)]:
        shares[source] += 1
    largest = max(shares, key=lambda source: shares[source])
    shares[largest] += PERIOD - sum(shares.values())
    return shares
