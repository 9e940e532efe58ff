"""Token files: written in shards of bounded size, memory-mapped and read as one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

SHARD_BYTES = 1 << 32
"""A shard is full at this size: small enough for any file system and to be copied, large enough that few are open."""
STARTS = np.dtype("<i8")


def shards(folder: Path, split: str, tokens: int, per_shard: int) -> tuple[Path, ...]:
    """The files of a split of so many tokens, in order."""
    return tuple(folder / f"{split}-{number:05}.bin" for number in range(-(-tokens // per_shard)))


def document_starts(folder: Path, split: str) -> Path:
    """The file with the place of each document's first token, int64 [documents]."""
    return folder / f"{split}-documents.bin"


@dataclass(frozen=True)
class Tokens:
    """All tokens of a split."""

    shards: tuple[np.ndarray, ...]
    """uint16 or uint32, memory-mapped; all but the last of the same length."""
    per_shard: int

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def __getitem__(self, places: slice) -> np.ndarray:
        """Tokens side by side, a view where one shard holds them all."""
        start, stop, _ = places.indices(len(self))
        first, last = start // self.per_shard, max(start, stop - 1) // self.per_shard
        parts = [
            shard[max(start - number * self.per_shard, 0) : stop - number * self.per_shard]
            for number, shard in enumerate(self.shards[first : last + 1], first)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.uint16), *parts])

    def rows(self, begins: np.ndarray, length: int) -> np.ndarray:
        """Windows of `length` tokens from int64 [rows], as int64 [rows, length]."""
        number, at = np.divmod(begins, self.per_shard)
        rows = np.empty((len(begins), length), np.int64)
        for shard in np.unique(number).tolist():
            inside = (number == shard) & (at + length <= len(self.shards[shard]))
            if inside.all():
                return _windows(self.shards[shard], at, length)
            if inside.any():
                rows[inside] = _windows(self.shards[shard], at[inside], length)
        for row in np.flatnonzero(at + length > self.per_shard):
            rows[row] = self[begins[row] : begins[row] + length]
        return rows


def open_tokens(paths: tuple[Path, ...], kind: np.dtype[Any], per_shard: int) -> Tokens:
    """Memory-map the shards."""
    # As plain arrays: each slice of a np.memmap costs several times as much.
    return Tokens(tuple(np.asarray(np.memmap(path, dtype=kind, mode="r")) for path in paths), per_shard)


@dataclass
class TokenWriter:
    """Writes the shards of a split, and where its documents begin."""

    folder: Path
    split: str
    kind: np.dtype[Any]
    per_shard: int
    tokens: int = 0
    """Written so far."""
    names: list[str] = field(default_factory=list)
    """Files written."""
    _shard: BinaryIO | None = None
    _starts: BinaryIO | None = None

    def __enter__(self) -> Self:
        path = document_starts(self.folder, self.split)
        self._starts = path.open("wb")
        self.names.append(path.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._shard, self._starts):
            if file is not None:
                file.close()

    def append(self, document: np.ndarray) -> None:
        """Add the tokens of a document; it goes on in the next shard where one is full."""
        assert self._starts is not None, "a writer is opened by `with`"
        self._starts.write(np.array([self.tokens], STARTS).tobytes())
        while len(document):
            room = self.per_shard - self.tokens % self.per_shard
            if room == self.per_shard:
                self._next_shard()
            assert self._shard is not None
            part, document = document[:room], document[room:]
            self._shard.write(part.astype(self.kind).tobytes())
            self.tokens += len(part)

    def _next_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
        path = shards(self.folder, self.split, self.tokens + 1, self.per_shard)[-1]
        self._shard = path.open("wb")
        self.names.append(path.name)


def _windows(shard: np.ndarray, begins: np.ndarray, length: int) -> np.ndarray:
    """Copies whole rows at a time, without an index of each token."""
    found: np.ndarray = np.lib.stride_tricks.sliding_window_view(shard, length)[begins].astype(np.int64)
    return found
