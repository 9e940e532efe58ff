"""Gradients of several ranks as of one: their sum, and the norm of the whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runners.checkpoint.placement import local

BUCKET = 2**25
"""Bytes that are sent at once: far more than a message costs by itself, far less than a model."""


@torch.no_grad()
def add_up(weights: Iterable[Tensor], group: dist.ProcessGroup) -> None:
    """Sum the gradients over a group of ranks that hold the same weights, in place; one that is not there is zero."""
    if group.size() == 1:
        return
    for bucket in _buckets([_gradient(weight) for weight in weights]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat, group=group)
        parts = flat.split_with_sizes([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def square(weights: Iterable[Tensor]) -> Tensor:
    """The square of the norm of the gradients, fp32 on the CPU; of DTensors, on whichever meshes, of the whole ones."""
    meshes: dict[Any, list[Tensor]] = {}
    for weight in weights:
        if weight.grad is not None:
            meshes.setdefault(getattr(weight, "device_mesh", None), []).append(weight.grad)
    norms = [nn.utils.get_total_norm(gradients) for gradients in meshes.values()]
    whole: list[Any] = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    return torch.stack([norm.float().cpu().square() for norm in whole]).sum() if whole else torch.zeros(())


def scale_down(weights: Iterable[nn.Parameter], norm: Tensor, limit: float) -> None:
    """Scale gradients whose norm as a whole is `norm` so that it is `limit` at most."""
    meshes: dict[Any, list[nn.Parameter]] = {}
    for weight in weights:
        meshes.setdefault(getattr(weight, "device_mesh", None), []).append(weight)
    for some in meshes.values():
        nn.utils.clip_grads_with_norm_(some, limit, norm)


def by_mesh(optimizer: Any) -> None:
    """Split the groups of an optimizer: one fused step takes plain tensors or DTensors of one mesh, not both."""
    for part in getattr(optimizer, "parts", (optimizer,)):
        groups = []
        for group in part.param_groups:
            meshes: dict[Any, list[Tensor]] = {}
            for weight in group["params"]:
                meshes.setdefault(getattr(weight, "device_mesh", None), []).append(weight)
            groups += [{**group, "params": some} for some in meshes.values()]
        part.param_groups[:] = groups


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return local(weight.grad)


def _buckets(gradients: list[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and gradient.dtype != bucket[0].dtype:
            yield bucket
            bucket = []
        bucket.append(gradient)
        if sum(one.nbytes for one in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
