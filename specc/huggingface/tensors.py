"""How one tensor of a checkpoint holds tensors of a generated model.

Families differ in how they store the same numbers: apart, joined along an axis, per head or per key/value head,
transposed, one expert at a time. Each such form is a word here, and each can be undone exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

How = Literal[
    "same",
    "transposed",
    "rows",
    "rows_transposed",
    "rows_by_group",
    "interleaved",
    "interleaved_transposed",
    "slice",
]
"""`theirs` in terms of `ours`, axes counted from 0 and `.T` the exchange of the last two axes:

- `same`: ours[0].
- `transposed`: ours[0].T.
- `rows`: ours joined along axis 0; ours[i] has sizes[i] rows.
- `rows_transposed`: the same, then .T: theirs is joined along its last axis.
- `rows_by_group`: `groups` equal groups along axis 0, and in each group sizes[i] rows of ours[i], i in order; ours[i]
  has groups * sizes[i] rows, its groups in order.
- `interleaved`: theirs[..., i::n] is ours[i], for n tensors of ours of one shape.
- `interleaved_transposed`: the same, ours[i].T in the place of ours[i].
- `slice`: ours[0][index]: one of the experts that we hold stacked.
"""
HOWS: tuple[How, ...] = get_args(How)


@dataclass(frozen=True)
class Move:
    """One tensor on their side, by its name on disk, and the tensors of ours whose values it holds."""

    theirs: str
    ours: tuple[str, ...]
    how: How = "same"
    sizes: tuple[int, ...] = ()
    """Rows of each of ours: all of them (`rows`), or those in one group (`rows_by_group`)."""
    groups: int = 1
    index: int | None = None
    """Which entry of the stack it is (`slice`)."""


def same(theirs: str, ours: str) -> Move:
    """The tensor as it is."""
    return Move(theirs, (ours,))


def linear(theirs: str, ours: str, *, bias: bool) -> tuple[Move, ...]:
    """Weight and, where there is one, bias of a linear layer or a norm, as they are."""
    parts = ("weight", "bias") if bias else ("weight",)
    return tuple(same(f"{theirs}.{part}", f"{ours}.{part}") for part in parts)


def joined(theirs: str, ours: Iterable[str], sizes: Iterable[int], *, bias: bool, groups: int = 1) -> tuple[Move, ...]:
    """Weight and bias of one linear layer that holds several of ours, `sizes` output rows each (of each group)."""
    parts = ("weight", "bias") if bias else ("weight",)
    how: How = "rows" if groups == 1 else "rows_by_group"
    names, rows = tuple(ours), tuple(sizes)
    return tuple(Move(f"{theirs}.{part}", tuple(f"{n}.{part}" for n in names), how, rows, groups) for part in parts)


def every_layer(count: int, moves: Iterable[Move]) -> tuple[Move, ...]:
    """The moves of each of `count` layers: `{i}` in a name is the number of the layer, from 0."""
    of_one = tuple(moves)
    return tuple(in_layer(move, index) for index in range(count) for move in of_one)


def in_layer(move: Move, index: int) -> Move:
    """The move of one layer: `{i}` in a name is its number."""
    number = str(index)
    ours = tuple(name.replace("{i}", number) for name in move.ours)
    return replace(move, theirs=move.theirs.replace("{i}", number), ours=ours)


def as_data(moves: Iterable[Move]) -> list[dict[str, Any]]:
    """The moves in JSON types, for a program that has torch."""
    return [{**asdict(move), "ours": list(move.ours), "sizes": list(move.sizes)} for move in moves]


def from_data(data: Iterable[Mapping[str, Any]]) -> Iterator[Move]:
    """The moves that `as_data` wrote."""
    for one in data:
        yield Move(one["theirs"], tuple(one["ours"]), one["how"], tuple(one["sizes"]), one["groups"], one["index"])
