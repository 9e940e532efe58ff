"""A layout of any size, proved in one process: the model on meta, and PyTorch's process group that only pretends.

Everything but numbers is as on the real machines: the mesh, which ranks divide what, and every error of a layout that
cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from runners.checkpoint.placement import local
from runners.engines.fsdp import spread
from runners.engines.step import Step
from runners.errors import RunError
from runners.layout import Layout
from runners.ranks import Ranks, mesh


def held(model: type[nn.Module], layout: Layout, rank: int = 0) -> dict[str, tuple[int, ...]]:
    """Shape of what one rank would hold of each weight, by name, from FSDP2 and tensor parallelism.

    RunError for a layout with other axes, for one that does not fit the model, and inside a real process group.
    """
    if layout.pipeline * layout.expert > 1:
        raise RunError("FSDP2 and tensor parallelism know no pipelines and no expert parallelism")
    with _pretended(layout.processes, rank):
        ranks = Ranks(rank, layout.processes, 0, layout, mesh(layout))
        with torch.device("meta"):
            step = Step(model())
        # Which heads' slopes a rank takes is no question of shapes, and the module of the model is not to be changed.
        spread(step, replace(ranks, layout=replace(layout, by_head=())))
        return {name: tuple(local(weight).shape) for name, weight in step.model.named_parameters()}


@contextmanager
def _pretended(size: int, rank: int) -> Iterator[None]:
    if dist.is_initialized():
        raise RunError("a layout is proved in a process that is in no group")
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()
