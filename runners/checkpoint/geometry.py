"""Rectangles of tensors: where two of them meet, and the few that make up a range of a flattened tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Box:
    """A rectangle of a tensor of any number of axes."""

    offset: Sizes
    """Its first index on each axis."""
    size: Sizes

    @property
    def count(self) -> int:
        """Its number of elements."""
        return prod(self.size)

    @property
    def end(self) -> Sizes:
        """The first index behind it, on each axis."""
        return tuple(start + size for start, size in zip(self.offset, self.size, strict=True))

    def meets(self, other: Box) -> Box | None:
        """What both have, in the indices of the tensor; None for nothing."""
        start = tuple(map(max, self.offset, other.offset))
        end = tuple(map(min, self.end, other.end))
        size = tuple(last - first for first, last in zip(start, end, strict=True))
        return None if any(length <= 0 for length in size) else Box(start, size)

    def within(self, outer: Box) -> tuple[slice, ...]:
        """Its slices of a tensor that holds `outer`."""
        starts = (first - base for first, base in zip(self.offset, outer.offset, strict=True))
        return tuple(slice(start, start + size) for start, size in zip(starts, self.size, strict=True))


def whole(shape: Sizes) -> Box:
    """All of a tensor."""
    return Box((0,) * len(shape), shape)


def boxes(start: int, stop: int, shape: Sizes) -> Iterator[Box]:
    """The rectangles that elements `start` to `stop` of a flattened tensor make up, in order: at most 2 axes - 1.

    Each is contiguous in the flattened tensor, and begins where the one before it ends.
    """
    if start >= stop:
        return
    if not shape:
        yield Box((), ())
        return
    row = prod(shape[1:])
    first, behind = -(-start // row), stop // row
    if first > behind:  # inside one row
        yield from _in_row(behind, start, stop, shape)
        return
    if start < first * row:
        yield from _in_row(first - 1, start, first * row, shape)
    if first < behind:
        yield Box((first, *(0 for _ in shape[1:])), (behind - first, *shape[1:]))
    if behind * row < stop:
        yield from _in_row(behind, behind * row, stop, shape)


def _in_row(index: int, start: int, stop: int, shape: Sizes) -> Iterator[Box]:
    """A range that lies in the row `index` of the first axis."""
    base = index * prod(shape[1:])
    for box in boxes(start - base, stop - base, shape[1:]):
        yield Box((index, *box.offset), (1, *box.size))
