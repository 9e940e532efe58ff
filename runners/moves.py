"""Tensors of other tools' checkpoints and ours: each way in one function, so that either can be tried without memory.

A move is what the compiler says of one tensor of theirs (`theirs`, `ours`, `how`, `sizes`, `groups`, `index`); the
words of `how` are defined once, in `specc/huggingface/tensors.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from runners.errors import RunError
from runners.tensor_files import Entry, Stored

_SHOWN = 5


@dataclass(frozen=True)
class Move:
    """One tensor of theirs, and the tensors of ours whose values it holds."""

    theirs: str
    ours: tuple[str, ...]
    how: str
    sizes: tuple[int, ...]
    groups: int
    index: int | None


@dataclass(frozen=True)
class Part:
    """Where values of one of our tensors come from: the `position`-th of the move's tensors."""

    move: Move
    position: int


def read_moves(data: Iterable[Mapping[str, Any]]) -> tuple[Move, ...]:
    """The moves as the compiler wrote them."""
    return tuple(
        Move(one["theirs"], tuple(one["ours"]), one["how"], tuple(one["sizes"]), one["groups"], one["index"])
        for one in data
    )


def theirs_of(move: Move, ours: Sequence[Tensor]) -> Tensor:
    """Their tensor, made of ours."""
    first = ours[0]
    if move.how == "same":
        return first
    if move.how == "transposed":
        return first.mT
    if move.how == "slice":
        assert move.index is not None, f"{move.theirs} is a slice without an index"
        return first[move.index]
    if move.how == "rows_by_group":
        grouped = [
            part.reshape(move.groups, rows, *part.shape[1:]) for part, rows in zip(ours, move.sizes, strict=True)
        ]
        return torch.cat(grouped, dim=1).flatten(0, 1)
    if move.how in ("rows", "rows_transposed"):
        whole = torch.cat(tuple(ours))
        return whole if move.how == "rows" else whole.mT
    turned = [part.mT for part in ours] if move.how == "interleaved_transposed" else list(ours)
    assert move.how in ("interleaved", "interleaved_transposed"), f"no tensor is stored `{move.how}`"
    return torch.stack(turned, dim=-1).flatten(-2)


def ours_of(move: Move, position: int, theirs: Tensor) -> Tensor:
    """One of our tensors, taken out of theirs; of a slice, the entry of the stack."""
    if move.how in ("same", "slice"):
        return theirs
    if move.how == "transposed":
        return theirs.mT
    first = sum(move.sizes[:position])
    if move.how == "rows_by_group":
        grouped = theirs.reshape(move.groups, sum(move.sizes), *theirs.shape[1:])
        return grouped[:, first : first + move.sizes[position]].flatten(0, 1)
    if move.how in ("rows", "rows_transposed"):
        whole = theirs if move.how == "rows" else theirs.mT
        if len(whole) != sum(move.sizes):
            raise RunError(f"`{move.theirs}` joins {len(whole):,} rows, and the config makes it {sum(move.sizes):,}")
        return whole[first : first + move.sizes[position]]
    assert move.how in ("interleaved", "interleaved_transposed"), f"no tensor is stored `{move.how}`"
    own = theirs[..., position :: len(move.ours)]
    return own if move.how == "interleaved" else own.mT


def sources(moves: Iterable[Move]) -> dict[str, tuple[Part, ...]]:
    """By name of ours: where its values come from, in the order of the stack where there are several."""
    found: dict[str, list[Part]] = {}
    for move in moves:
        for position, name in enumerate(move.ours):
            found.setdefault(name, []).append(Part(move, position))
    return {name: tuple(sorted(parts, key=lambda part: part.move.index or 0)) for name, parts in found.items()}


def gathered(parts: Sequence[Part], tensor: Any) -> Tensor:
    """One of our tensors; `tensor` gives theirs by name."""
    taken = [ours_of(part.move, part.position, tensor(part.move.theirs)) for part in parts]
    return torch.stack(taken) if parts[0].move.how == "slice" else taken[0]


def matched(moves: Sequence[Move], stored: Stored, ignored: Sequence[str]) -> tuple[Move, ...]:
    """The moves under the names that the files really have; RunError with the names of what is missing or left over.

    A tensor that is one of the others once more (a head that is tied and written all the same) is not left over. A
    checkpoint of a model without its head has names without the prefix of the model with it (the `gpt2` of the hub).
    """
    names = set(stored.entries)
    prefixes = _prefixes(moves)
    if all(move.theirs not in names for move in moves) and names:
        moves = [_without(move, prefixes, names) for move in moves]
    wanted = {move.theirs for move in moves}
    missing = sorted(wanted - names)
    left = sorted(names - wanted - set(named_by(ignored, names - wanted, prefixes)))
    left = [name for name in left if not _is_copy(name, stored, wanted & names)]
    if missing:
        raise RunError(f"the checkpoint lacks {_listed(missing)}, which the config asks for")
    table = next((move.theirs for move in moves if "embedding.weight" in move.ours), None)
    for name in left:
        if table is not None and stored.entries[name].shape == stored.entries[table].shape:
            raise RunError(f"`{name}` differs from `{table}`, and the config makes them one table: nothing is dropped")
    if left:
        raise RunError(f"the checkpoint holds {_listed(left)}, which the config has no use for: nothing is dropped")
    return tuple(moves)


def named_by(rules: Iterable[str], names: Iterable[str], prefixes: set[str]) -> tuple[str, ...]:
    """The names that one of some regular expressions is of, as they are or with a prefix before them."""
    rule = re.compile("|".join(f"(?:{one})" for one in rules) or r"(?!)")
    return tuple(name for name in sorted(names) if any(rule.fullmatch(prefix + name) for prefix in ("", *prefixes)))


def unread(rules: Mapping[str, str], moves: Sequence[Move], stored: Stored) -> list[str]:
    """What a user is told of weights that a checkpoint has and nobody reads; `rules` are names with what is said."""
    by_reason: dict[str, list[str]] = {}
    left = stored.entries.keys() - {move.theirs for move in moves}
    for rule, said in rules.items():
        by_reason.setdefault(said, []).extend(named_by((rule,), left, _prefixes(moves)))
    return [f"{_listed(sorted(names))}: {said}" for said, names in by_reason.items() if names]


def check_shapes(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], model: str) -> None:
    """RunError that names what a model needs and does not get, what it has no use for, and what has another shape."""
    missing, left = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing:
        raise RunError(f"{model} needs {_listed(missing)}, and nothing gives it")
    if left:
        raise RunError(f"{model} has no {_listed(left)}")
    wrong = [name for name in wanted if tuple(found[name]) != tuple(wanted[name])]
    if wrong:
        name = wrong[0]
        others = f", and {len(wrong) - 1:,} more are of a wrong shape" if len(wrong) > 1 else ""
        raise RunError(f"`{name}` is of shape {list(found[name])}, and {model} needs {list(wanted[name])}{others}")


def announced(parts: Mapping[str, tuple[Part, ...]], stored: Stored) -> dict[str, Entry]:
    """Shape and type of each of our tensors, found without reading one; RunError where theirs cannot be taken apart."""
    entries = {}
    for name, of_name in parts.items():
        try:
            blank = gathered(of_name, lambda theirs: stored.entries[theirs].blank())
        except (RuntimeError, IndexError) as error:
            theirs = of_name[0].move.theirs
            shape = list(stored.entries[theirs].shape)
            raise RunError(f"`{theirs}` of shape {shape} does not hold `{name}`: {error}") from None
        entries[name] = Entry(stored.entries[of_name[0].move.theirs].file, tuple(blank.shape), blank.dtype)
    return entries


def _prefixes(moves: Iterable[Move]) -> set[str]:
    """What stands before the names of a model with its head, and not before those of one without."""
    return {move.theirs.partition(".")[0] + "." for move in moves}


def _without(move: Move, prefixes: set[str], names: set[str]) -> Move:
    bare = next((move.theirs.removeprefix(one) for one in prefixes if move.theirs.startswith(one)), move.theirs)
    return replace(move, theirs=bare) if bare in names else move


def _is_copy(name: str, stored: Stored, others: set[str]) -> bool:
    """Whether a tensor holds the same bits as one of the others."""
    kinds = {one: (stored.entries[one].shape, stored.entries[one].dtype) for one in (*others, name)}
    alike = [one for one in others if kinds[one] == kinds[name]]
    return any(torch.equal(stored.read(name), stored.read(one)) for one in alike)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"
