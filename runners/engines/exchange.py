"""Tensors that ranks exchange within a forward pass, and their gradients that go the other way in the backward pass.

PyTorch's functional collectives, which are the same on gloo and NCCL, and which it differentiates and compiles.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import _functional_collectives as collectives


def exchange(parts: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Part i of [ranks, ...] goes to rank i, and comes back as what each rank sent here, [ranks, ...]."""
    sent = parts.flatten(0, 1).contiguous()
    return collectives.all_to_all_single_autograd(sent, None, None, group).view_as(parts)


def exchange_rows(rows: Tensor, to: list[int], of: list[int], group: dist.ProcessGroup) -> Tensor:
    """The first to[0] of [Z, ...] go to rank 0, and so on; returns what came, of[0] rows of rank 0 first."""
    return collectives.all_to_all_single_autograd(rows.contiguous(), of, to, group)


def to_heads(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """A rank's part of a sequence with all heads, [B, T / ranks, C, ...], to all of it with a part of the heads."""
    parts = torch.unflatten(x, 2, (group.size(), -1)).movedim(2, 0)
    return exchange(parts, group).movedim(0, 1).flatten(1, 2)


def to_sequence(y: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The way back of `to_heads`: [B, T, C / ranks] to [B, T / ranks, C]."""
    parts = torch.unflatten(y, 1, (group.size(), -1)).movedim(1, 0)
    return exchange(parts, group).movedim(0, 2).flatten(2, 3)


def gather(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """What every rank has of one shape, [ranks, ...]; a gradient is the sum of those of all ranks."""
    return exchange(x.expand(group.size(), *x.shape), group)
