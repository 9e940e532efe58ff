"""Expert parallelism: each rank holds some of the experts, applied from outside to a generated mixture of experts.

Tokens go to the ranks of their experts and back by two exchanges (Lepikhin et al. 2020, GShard, arXiv:2006.16668,
section 3.1), of as many rows as there are: none is padded or dropped. Routers are whole on every rank, so choices,
loads and what capacity leaves out are those of a rank's own sequences, as they are without it.

An expert's gradient holds the tokens of all ranks that sent it some: it is summed over ranks with the same experts.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from runners.engines.exchange import exchange, exchange_rows
from runners.errors import RunError
from runners.ranks import Ranks

COPIES, EXPERTS = "copies", "experts"
"""Axes of the mesh of experts: ranks with the same ones, and ranks that they are divided among."""


def expert_mesh(ranks: Ranks) -> DeviceMesh:
    """The axes COPIES and EXPERTS over the ranks of this process's piece of the pipeline.

    Experts are divided among neighbours within `shard` x `context`. RunError where that does not divide.
    """
    layout, mesh = ranks.layout, ranks.mesh
    assert mesh is not None, "one process has all experts"
    among = layout.shard * layout.context
    if among % layout.expert or layout.tensor > 1:
        raise RunError(
            f"experts are divided among ranks of shard x context, {layout.shard} x {layout.context} here, and not "
            f"of tensor, {layout.tensor} here; the plan divides them among {layout.expert}"
        )
    # One for all pieces of a process, kept with its mesh: groups are made by all processes together.
    kept = vars(mesh)
    if EXPERTS not in kept:
        kept[EXPERTS] = _divided(mesh, layout.pipeline, layout.expert)
    found: DeviceMesh = kept[EXPERTS][COPIES, EXPERTS]
    return found


def _divided(mesh: DeviceMesh, pipeline: int, expert: int) -> DeviceMesh:
    ranks = mesh.mesh.reshape(pipeline, -1, expert)
    made = DeviceMesh(mesh.device_type, ranks, mesh_dim_names=("pipeline", COPIES, EXPERTS))
    made[COPIES, EXPERTS]._flatten(f"{COPIES}_{EXPERTS}")  # norms are then summed over both at once
    return made


def divide_experts(model: nn.Module, mesh: DeviceMesh, *, copies: bool) -> None:
    """Divide the experts of a model, which can be on meta, among the ranks of EXPERTS. Their weights become DTensors.

    Over both axes where ranks of COPIES hold copies, else over EXPERTS alone, for FSDP to divide further. RunError
    where they do not divide.
    """
    ranks, over = mesh[EXPERTS].size(), mesh if copies else mesh[EXPERTS]
    placements = [Replicate(), Shard(0)] if copies else [Shard(0)]
    for experts in experts_of(model):
        for name, weight in list(experts.named_parameters(recurse=False)):
            if len(weight) % ranks:
                raise RunError(f"{len(weight)} experts do not divide among {ranks} ranks")
            placed = distribute_tensor(weight.detach(), over, placements)
            experts.register_parameter(name, nn.Parameter(placed))
        cast("Any", experts).made = _elsewhere(experts, mesh[EXPERTS].get_group())


def experts_of(model: nn.Module) -> list[nn.Module]:
    """The experts of each layer that has some."""
    return [module for module in model.modules() if type(module).__name__ == "Experts"]


def is_expert(weight: Tensor) -> bool:
    """Whether a weight is divided among ranks of EXPERTS."""
    return isinstance(weight, DTensor) and EXPERTS in (weight.device_mesh.mesh_dim_names or ())


def _elsewhere(experts: nn.Module, group: dist.ProcessGroup) -> Callable[[Tensor, Tensor], Tensor]:
    """What experts make of tokens sorted by expert, each on the rank that has it."""
    own = cast("Any", type(experts)).made

    def made(x_XD: Tensor, sizes_E: Tensor) -> Tensor:
        sent = torch.unflatten(sizes_E, 0, (group.size(), -1))
        came = exchange(sent, group)  # tokens for each of our experts, from each rank
        to, of = (sizes.sum(dim=1).tolist() for sizes in (sent, came))
        # They come by rank, and the tokens of an expert are to stand together.
        experts_X = torch.arange(came.numel(), device=came.device).remainder(came.shape[1])
        order = experts_X.repeat_interleave(came.flatten()).argsort(stable=True)
        here_XD = exchange_rows(x_XD, to, of, group)[order]
        made_XD: Tensor = own(_here(experts), here_XD, came.sum(dim=0))
        return exchange_rows(made_XD[order.argsort()], of, to, group)

    return made


def _here(experts: nn.Module) -> SimpleNamespace:
    """What the experts' own code reads of them: the weights of this rank's."""
    weights = {name: cast("DTensor", weight).to_local() for name, weight in experts.named_parameters(recurse=False)}
    return SimpleNamespace(**weights, training=experts.training)
