"""Sequences from easy to hard: a score of each, made once and kept beside the tokens as an order."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from runners.data import DataSet
from runners.errors import RunError
from runners.packing import Packed
from runners.windows import Windows

FORMAT = 1
"""Raised whenever the same sequences would be put in another order."""
AT_ONCE = 1 << 22
"""Tokens in memory at once, about."""
Rows = Windows | Packed


def order(data: DataSet, rows: Rows, name: str, score: str) -> np.ndarray:
    """Numbers of the sequences of a stream, the easiest first, int64 [rows]; equals keep their order."""
    if score not in SCORES:
        raise RunError(f"this version scores difficulty by {' or '.join(SCORES)}, and the plan says `{score}`")
    kind = "packed" if isinstance(rows, Packed) else "windows"
    of = sha256(name.encode()).hexdigest()[:12]
    path = data.folder / f"order-{score}-{kind}-{rows.context_length}-{of}-{FORMAT}.npy"
    if not path.is_file():
        _write(path, np.argsort(SCORES[score](rows), kind="stable"))
    found: np.ndarray = np.load(path, mmap_mode="r")
    return found


def rarity(rows: Rows) -> np.ndarray:
    """Mean of -log p(token) over a row, nats, where p is the token's share of all tokens of the source (Platanios et
    al. 2019, arXiv:1903.09848, section 2.1, which sums; rows that are not full would then pass for easy).
    """
    counts = np.zeros(0, np.int64)
    for part in _parts(rows):
        found = np.bincount(part[part >= 0])
        counts = np.pad(counts, (0, max(0, len(found) - len(counts)))) + np.pad(
            found, (0, max(0, len(counts) - len(found)))
        )
    surprise = np.zeros(len(counts))
    surprise[counts > 0] = np.log(counts.sum()) - np.log(counts[counts > 0])
    scores = []
    for part in _parts(rows):
        asked = part >= 0
        scores.append(np.where(asked, surprise[np.where(asked, part, 0)], 0.0).sum(1) / asked.sum(1))
    return np.concatenate(scores)


def compression(rows: Rows) -> np.ndarray:
    """Size after zlib as a share of the size before, of the token ids as they are stored (compression ratio: Zhang et
    al. 2025, "Beyond random sampling", arXiv:2506.11300, which measures text; it is the ids that the model reads).
    """
    kind = rows.tokens.shards[0].dtype
    return np.array([_compressed(row[row >= 0].astype(kind).tobytes()) for part in _parts(rows) for row in part])


SCORES: dict[str, Callable[[Rows], np.ndarray]] = {"rarity": rarity, "compression": compression}


def _compressed(content: bytes) -> float:
    return len(zlib.compress(content, 6)) / len(content)


def _parts(rows: Rows) -> Iterator[np.ndarray]:
    """All rows in order, some at a time."""
    size = max(1, AT_ONCE // (rows.context_length + 1))
    for start in range(0, len(rows), size):
        yield rows.rows(np.arange(start, min(start + size, len(rows))))


def _write(path: Path, values: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npy")
    np.save(temporary, values)
    temporary.replace(path)
