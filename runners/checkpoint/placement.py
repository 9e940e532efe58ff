"""Which rectangles of a whole tensor a rank holds of it, as the mesh of a DTensor says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.placement_types import Placement, Shard, _StridedShard

from runners.checkpoint.geometry import Sizes
from runners.errors import RunError

Part = tuple[Sizes, tuple[slice, ...]]
"""First index of a rectangle in the whole tensor, and its slices of the local one."""


@dataclass(frozen=True)
class Holding:
    """What this rank holds of a tensor."""

    shape: Sizes
    """Of the whole tensor."""
    parts: tuple[Part, ...]
    """One rectangle nearly always; several where an axis is divided in an order other than that of the mesh."""
    divided: bool = False
    """Whether a mesh says so; False for a plain tensor, of which any number of ranks may hold copies."""
    first: bool = True
    """Whether this rank is the first of those that the mesh gives the same part."""
    first_of_all: bool = True
    """Whether it is the first rank of the mesh."""


def local(tensor: Tensor) -> Tensor:
    """The values on this rank; the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def holding(tensor: Tensor) -> Holding:
    """What this rank holds of a tensor; RunError for sums that are not yet made."""
    shape = tuple(tensor.shape)
    if not isinstance(tensor, DTensor):
        return Holding(shape, (((0,) * len(shape), tuple(slice(0, length) for length in shape)),))
    place = tensor.device_mesh.get_coordinate()
    if place is None:
        return Holding(shape, (), divided=True, first=False, first_of_all=False)
    runs = [_runs(tensor, place, axis) for axis in range(len(shape))]
    parts = tuple(
        (tuple(start for start, _, _ in some), tuple(slice(at, at + size) for _, at, size in some))
        for some in product(*runs)
    )
    copies = [index for index, kind in zip(place, tensor.placements, strict=True) if isinstance(kind, Replicate)]
    return Holding(shape, parts, divided=True, first=not any(copies), first_of_all=not any(place))


def _runs(tensor: DTensor, place: Any, axis: int) -> list[tuple[int, int, int]]:
    """The stretches of an axis that are here: first index in the whole, first index in the local tensor, length."""
    here = torch.arange(tensor.shape[axis])
    for coordinate, size, kind in zip(place, tensor.device_mesh.shape, tensor.placements, strict=True):
        if not isinstance(kind, Replicate) and _axis(kind) % tensor.dim() == axis:
            here = _split(kind, here, size)[coordinate]
    breaks = (here.diff() != 1).nonzero().view(-1) + 1
    pieces = here.tensor_split(breaks)
    runs, at = [], 0
    for piece in pieces:
        if len(piece):
            runs.append((int(piece[0]), at, len(piece)))
        at += len(piece)
    return runs


def _axis(kind: Placement) -> int:
    if isinstance(kind, (Shard, _StridedShard)):
        return kind.dim
    raise RunError(f"a tensor that is {kind} over ranks cannot be written: it is not one value yet")


def _split(kind: Placement, indices: Tensor, count: int) -> list[Tensor]:
    """What each rank of a mesh axis has of the indices of an axis, as the placement itself divides them."""
    first = _StridedShard(0, split_factor=kind.split_factor) if isinstance(kind, _StridedShard) else Shard(0)
    parts, _ = first._split_tensor(indices, count, with_padding=False, contiguous=True)
    return list(parts)
