"""Documents whole where they fit: which of them share a sequence, found once and kept beside the tokens.

"Fewer truncations improve language modeling" (Ding et al. 2024, arXiv:2404.10830, section 3): documents that are longer
than a sequence are cut into sequences and a rest; rests and shorter documents are packed by best-fit decreasing. Every
token is asked for once an epoch, but for the end that stands first in a row.

In a row a number below zero is `~id`: a token that is read and not asked for. What fills a row up is `~end`.
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left, insort
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runners.data import DataSet, Split
from runners.errors import RunError
from runners.tokens import Tokens

FORMAT = 1
"""Raised whenever the same documents would be packed in another way."""


@dataclass(frozen=True)
class Pieces:
    """Parts of documents, int64 [pieces] each."""

    begin: np.ndarray
    """Place of the first token."""
    size: np.ndarray
    """Tokens. Below zero for a rest: it begins with a token that the sequence before it asked for."""

    @property
    def room(self) -> np.ndarray:
        """Places in a row: a rest has the end of a document before it, so that it is told from what precedes it."""
        return np.where(self.size < 0, 1 - self.size, self.size)

    def take(self, chosen: np.ndarray) -> Pieces:
        """Some of them, in the order asked for."""
        return Pieces(self.begin[chosen], self.size[chosen])


@dataclass(frozen=True)
class Packed:
    """Rows of a source, or of all."""

    tokens: Tokens
    first: np.ndarray
    """int64 [rows + 1]: the first piece of each row."""
    pieces: Pieces
    start: int
    """The first row, and how many there are."""
    count: int
    context_length: int
    end_of_document: int

    def __len__(self) -> int:
        return self.count

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """int64 [n, context_length + 1], below zero where nothing is asked for."""
        rows = np.full((len(numbers), self.context_length + 1), ~self.end_of_document, np.int64)
        for row, number in zip(rows, (self.start + numbers).tolist(), strict=True):
            self._fill(row, slice(int(self.first[number]), int(self.first[number + 1])))
        return rows

    def _fill(self, row: np.ndarray, pieces: slice) -> None:
        at = 0
        for begin, size in zip(self.pieces.begin[pieces].tolist(), self.pieces.size[pieces].tolist(), strict=True):
            if size < 0:
                row[at] = self.end_of_document
                at += 1
            row[at : at + abs(size)] = self.tokens[begin : begin + abs(size)]
            if size < 0:
                row[at] = ~row[at]
            at += abs(size)
        if at < len(row):
            row[at] = self.end_of_document  # the last document's end is asked for, where there is room


def packed(data: DataSet, source: str | None, context_length: int) -> Packed:
    """The training rows of a source, or of all sources as one; the packing is made if it is not there yet."""
    folder = data.folder / f"packed-{context_length}-{FORMAT}"
    if not folder.is_dir():
        _make(folder, data.train, context_length)
    sources = list(data.train.ranges)
    bounds = np.load(folder / "sources.npy")
    which = (0, len(sources)) if source is None else (sources.index(source), sources.index(source) + 1)
    start, stop = int(bounds[which[0]]), int(bounds[which[1]])
    if start == stop:
        raise RunError(f"source `{source or '+'.join(sources)}` holds no training tokens")
    first, begin, size = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("first", "begin", "size"))
    tokens = data.train.open()
    return Packed(tokens, first, Pieces(begin, size), start, stop - start, context_length, data.end_of_document)


def cut(starts: np.ndarray, stop: int, context_length: int) -> tuple[Pieces, Pieces]:
    """Documents that begin at int64 `starts` and lie side by side up to `stop`: full rows, and what is to be packed."""
    sizes = np.diff(np.append(starts, stop))
    full = (sizes - 1) // context_length
    within = np.arange(full.sum()) - np.repeat(np.cumsum(full) - full, full)
    rows = np.repeat(starts, full) + within * context_length
    left = sizes - full * context_length
    asked = left > 1  # the first one was asked for before, or is the end of another document
    rest = Pieces(starts + full * context_length, np.where(full > 0, -left, left))
    return Pieces(rows, np.full(len(rows), context_length + 1)), rest.take(np.flatnonzero(asked))


def best_fit(sizes: np.ndarray, capacity: int) -> np.ndarray:
    """Bin of each item, int64: the largest item first, each into the bin that it leaves the least room in.

    Bins with the same room are filled at once, so the time is that of the sizes that differ and not of the items.
    """
    bins = np.empty(len(sizes), np.int64)
    order = np.argsort(-sizes, kind="stable")
    edges = np.flatnonzero(np.diff(sizes[order])) + 1
    rooms: list[int] = []
    with_room: dict[int, np.ndarray] = {}
    opened = 0
    for items in np.split(order, edges) if len(order) else ():
        size = int(sizes[items[0]])
        while len(items):
            at = bisect_left(rooms, size)
            room = rooms.pop(at) if at < len(rooms) else capacity
            each = room // size
            needed = -(-len(items) // each)
            if room in with_room:
                open_bins = with_room.pop(room)
            else:
                open_bins, opened = np.arange(opened, opened + needed), opened + needed
            used, unused = open_bins[:needed], open_bins[needed:]
            placed, items = items[: each * len(used)], items[each * len(used) :]
            bins[placed] = np.repeat(used, each)[: len(placed)]
            last = room - (len(placed) - each * (len(used) - 1)) * size
            for left, those in ((room, unused), (room - each * size, used[:-1]), (last, used[-1:])):
                _keep(rooms, with_room, left, those)
    return bins


def _keep(rooms: list[int], with_room: dict[int, np.ndarray], room: int, bins: np.ndarray) -> None:
    if not len(bins) or not room:
        return
    if room in with_room:
        bins = np.concatenate((with_room[room], bins))
    else:
        insort(rooms, room)
    with_room[room] = bins


def _make(folder: Path, split: Split, context_length: int) -> None:
    """Write the packing beside its final place, then rename; another rank or run may have made it meanwhile."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for name, values in _arrays(split, context_length).items():
            np.save(temporary / f"{name}.npy", values)
        if not folder.is_dir():
            _rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _arrays(split: Split, context_length: int) -> dict[str, np.ndarray]:
    bounds, counts, begins, sizes = [0], [np.zeros(1, np.int64)], [], []
    for source, part in split.ranges.items():
        whole, rest = cut(split.document_starts(source), part.start + part.tokens, context_length)
        bins = best_fit(rest.room, context_length + 1)
        together = np.argsort(bins, kind="stable")  # within a row, documents keep their order
        counts += [np.ones(len(whole.begin), np.int64), np.bincount(bins)]
        rest = rest.take(together)
        begins += [whole.begin, rest.begin]
        sizes += [whole.size, rest.size]
        bounds.append(bounds[-1] + len(counts[-2]) + len(counts[-1]))
    first = np.cumsum(np.concatenate(counts))
    return {
        "sources": np.array(bounds),
        "first": first,
        "begin": np.concatenate(begins),
        "size": np.concatenate(sizes),
    }
