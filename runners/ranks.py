"""The processes of a run: which one this is, what it reads of a batch, and what they agree on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from runners.errors import RunError
from runners.layout import AXES, Layout

ONE = Layout()
SUMMED = ("replicate", "shard", "context")
"""Axes whose ranks see different tokens: losses and gradients are summed over them."""


@dataclass(frozen=True)
class Ranks:
    """One process among those of its run. Alone it has no mesh, and every sum is its own part."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this machine."""
    layout: Layout = ONE
    mesh: DeviceMesh | None = None
    """Over the axes of the layout, in their order."""

    @property
    def is_first(self) -> bool:
        """Whether this is the process that speaks, and writes the events."""
        return self.rank == 0

    @property
    def data_size(self) -> int:
        """Parts that the sequences of a batch are divided into."""
        return self.layout.replicate * self.layout.shard

    @property
    def data_rank(self) -> int:
        """Which part this process reads. Ranks of other axes read the same."""
        place = self.layout.place(self.rank)
        return place["replicate"] * self.layout.shard + place["shard"]

    @property
    def context_rank(self) -> int:
        """Which part of every sequence this process computes."""
        return self.layout.place(self.rank)["context"]

    @property
    def draws(self) -> int:
        """Number of the random draws of this process: those that compute the same activations draw the same."""
        return self.data_rank * self.layout.context + self.context_rank

    def rows(self, batch_size: int) -> tuple[int, int]:
        """First and end of the sequences of a batch that this process reads."""
        share = batch_size // self.data_size
        return self.data_rank * share, (self.data_rank + 1) * share

    def sum_over_tokens(self, value: Tensor) -> Tensor:
        """The sum over ranks that see different tokens, in place."""
        if self.mesh is not None and self.data_size * self.layout.context > 1:
            dist.all_reduce(value, group=self.token_group())
        return value

    def token_group(self) -> dist.ProcessGroup:
        """Ranks that see different tokens and hold the same part of the model."""
        assert self.mesh is not None, "one process has no groups"
        return self.mesh[SUMMED]._flatten("tokens").get_group()

    def total(self, count: int) -> int:
        """The sum of a number over the parts of the batch."""
        if self.mesh is None or self.data_size == 1:
            return count
        value = torch.tensor(count, dtype=torch.int64)
        dist.all_reduce(value)
        return int(value) * self.data_size // self.size

    def agree(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.mesh is None:
            return flag
        value = torch.tensor(int(flag))
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value)

    def largest(self, number: float) -> float:
        """The largest of what each process says."""
        if self.mesh is None:
            return number
        value = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return float(value)

    def share(self, thing: Any) -> Any:
        """What the first process has, on every one."""
        if self.mesh is None:
            return thing
        box = [thing]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Return when every process is here."""
        if self.mesh is not None:
            dist.barrier()


ALONE = Ranks()


def join(layout: Layout | None) -> Ranks:
    """Become one of the processes that the environment speaks of (torchrun, Slurm); RunError when they are too few."""
    laid_out = layout or ONE
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != laid_out.processes:
        raise RunError(
            f"the plan is laid out for {laid_out.processes} processes, and was started as {size}: `specc run` starts "
            f"them, and so does `python -m runners.processes {laid_out.processes} PROGRAM --run DIR`"
        )
    if size == 1:
        return Ranks(layout=laid_out)
    rank, local_rank = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise RunError(f"process {local_rank + 1} of this machine finds {torch.cuda.device_count()} GPUs only")
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        # Numbers that processes agree on are on the CPU, whatever the device of the tensors is.
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return Ranks(rank, size, local_rank, laid_out, mesh(laid_out))


def mesh(layout: Layout) -> DeviceMesh:
    """The mesh of a layout, over a process group that is there."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return init_device_mesh(kind, layout.sizes, mesh_dim_names=AXES)


def leave(ranks: Ranks) -> None:
    """Part from the other processes once all are here: one that leaves early makes the others abort."""
    if ranks.mesh is not None and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def end(code: int) -> NoReturn:
    """End with an exit code. Processes that are still bound to others end at once: gloo's threads would abort them."""
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)
