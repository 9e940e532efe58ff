"""A byte trigram model: what a language model has to beat to have learnt more than which bytes follow which.

Interpolated Witten-Bell smoothing (Witten and Bell 1991, IEEE Transactions on Information Theory 37(4), method C; in
the interpolated form of Chen and Goodman 1998, TR-10-98, section 2.5): with c(h, x) the count of byte x after history
h, n(h) their sum and t(h) the number of different bytes seen after h,

    p(x | h) = (c(h, x) + t(h) * p(x | shorter h)) / (n(h) + t(h)),

down to a uniform distribution over the 256 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from runners.tokens import Tokens

START = 256
"""Stands for what is before a document's first byte; the same id as the byte tokenizer's end-of-document token."""
SYMBOLS = 257
CHUNK = 1 << 22


@dataclass(frozen=True)
class Trigram:
    """Probabilities of the next byte after two symbols."""

    probability: np.ndarray
    """fp64 [SYMBOLS, SYMBOLS, 256]: before the last, last, next."""

    def bits(self, document: bytes) -> float:
        """Negative log2 probability of a document, all its bytes."""
        symbols = np.concatenate(([START, START], np.frombuffer(document, np.uint8)))
        chosen = self.probability[symbols[:-2], symbols[1:-1], symbols[2:]]
        return -float(np.log2(chosen).sum())


def fit(tokens: np.ndarray | Tokens) -> Trigram:
    """Fit on uint16 [tokens], START before each document; no history reaches over the start of a document."""
    counts = np.zeros(SYMBOLS * SYMBOLS * 256, dtype=np.int64)
    for first in range(0, len(tokens), CHUNK):
        counts += _count(tokens[max(first - 2, 0) : first + CHUNK].astype(np.int64), skip=2 if first else 0)
    after_two = counts.reshape(SYMBOLS, SYMBOLS, 256)
    after_one = after_two.sum(axis=0)
    after_none = after_one.sum(axis=0)
    uniform = np.full(256, 1 / 256)
    unigram = _interpolated(after_none, uniform)
    bigram = _interpolated(after_one, unigram)
    return Trigram(_interpolated(after_two, bigram))


def bits_per_byte(model: Trigram, documents: Iterable[bytes]) -> float:
    """Bits per byte over all documents together; NaN when they hold no byte."""
    bits, size = 0.0, 0
    for document in documents:
        bits += model.bits(document)
        size += len(document)
    return bits / size if size else math.nan


def _count(tokens: np.ndarray, skip: int) -> np.ndarray:
    """How often each (before, last, next) occurs, flat; the first `skip` tokens are only history."""
    padded = tokens if skip else np.concatenate(([START, START], tokens))
    before, last, following = padded[:-2], padded[1:-1], padded[2:]
    before = np.where(last == START, START, before)
    byte = following != START
    index = (before[byte] * SYMBOLS + last[byte]) * 256 + following[byte]
    return np.bincount(index, minlength=SYMBOLS * SYMBOLS * 256)


def _interpolated(counts: np.ndarray, shorter: np.ndarray) -> np.ndarray:
    """Probabilities [..., 256] from counts [..., 256]; a history that never occurred takes the shorter one's."""
    seen = counts.sum(axis=-1, keepdims=True)
    kinds = (counts > 0).sum(axis=-1, keepdims=True)
    mixed = (counts + kinds * shorter) / np.maximum(seen + kinds, 1)
    return np.where(seen > 0, mixed, shorter)
