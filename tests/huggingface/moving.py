"""Moves executed in torch: tensors of a checkpoint to ours, and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from specc.huggingface import Move


def to_ours(moves: Iterable[Move], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors from those on their disk; slices are stacked in the order of their index."""
    ours: dict[str, Tensor] = {}
    stacks: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for move in moves:
        if move.how == "slice":
            assert move.index is not None
            stacks[move.ours[0]][move.index] = theirs[move.theirs]
        else:
            ours.update(zip(move.ours, _apart(move, theirs[move.theirs]), strict=True))
    for name, slices in stacks.items():
        ours[name] = torch.stack([slices[index] for index in range(len(slices))])
    return ours


def to_theirs(moves: Iterable[Move], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors from ours."""
    return {move.theirs: _joined(move, tuple(ours[name] for name in move.ours)) for move in moves}


def _apart(move: Move, tensor: Tensor) -> tuple[Tensor, ...]:
    n = len(move.ours)
    if move.how in ("same", "transposed"):
        assert n == 1
        return (tensor if move.how == "same" else tensor.mT,)
    if move.how in ("rows", "rows_transposed"):
        return (tensor if move.how == "rows" else tensor.mT).split(move.sizes)
    if move.how == "rows_by_group":
        groups = tensor.unflatten(0, (move.groups, sum(move.sizes)))
        return tuple(part.flatten(0, 1) for part in groups.split(move.sizes, dim=1))
    parts = tuple(tensor[..., i::n] for i in range(n))
    return parts if move.how == "interleaved" else tuple(part.mT for part in parts)


def _joined(move: Move, parts: tuple[Tensor, ...]) -> Tensor:
    if move.how == "slice":
        return parts[0][move.index]
    if move.how in ("same", "transposed"):
        return parts[0] if move.how == "same" else parts[0].mT
    if move.how in ("rows", "rows_transposed"):
        return torch.cat(parts) if move.how == "rows" else torch.cat(parts).mT
    if move.how == "rows_by_group":
        return torch.cat([part.unflatten(0, (move.groups, -1)) for part in parts], dim=1).flatten(0, 1)
    turned = parts if move.how == "interleaved" else tuple(part.mT for part in parts)
    return torch.stack(turned, dim=-1).flatten(-2)
