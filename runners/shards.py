"""The part of a divided tensor that this process holds."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor


def here(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, sharing its memory; all of one that is not divided."""
    # Not `isinstance(tensor, DTensor)`: its module takes half a second to import, and most runs divide nothing.
    return cast("Tensor", tensor.to_local()) if hasattr(tensor, "to_local") else tensor


def divided_like(part: Tensor, other: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`part` as what this process holds of a tensor of `shape` that is divided as `other` is; itself where that is not.

    `part` is contiguous, and what is divided lies in rows: axis 0, or any axis that all ranks have equal parts of.
    """
    if not hasattr(other, "to_local"):
        return part
    from torch.distributed.tensor import DTensor

    assert isinstance(other, DTensor)
    whole = torch.empty(shape, device="meta")
    return DTensor.from_local(
        part, other.device_mesh, other.placements, run_check=False, shape=whole.shape, stride=whole.stride()
    )
