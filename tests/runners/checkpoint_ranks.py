"""What several ranks do in `test_checkpoint_ranks.py`: python -m tests.runners.checkpoint_ranks SCENE FOLDER."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from runners import checkpoint
from runners.checkpoint import Keep, Piece, Saver, Schedule, optimizer_state, whole_piece
from runners.errors import RunError
from runners.layout import Layout
from runners.ranks import join


class Network(nn.Module):
    """Sizes that four ranks do not divide, and a buffer that every rank has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down, self.last = nn.Linear(6, 10), nn.Linear(10, 7), nn.Linear(7, 3, bias=False)
        self.register_buffer("seen", torch.tensor([3, 4]))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.down(torch.tanh(self.up(x))))  # type: ignore[no-any-return]


def whole(_: nn.Module) -> None:
    """A copy on every rank; all train on the same rows, so that they stay equal."""


def sharded(model: nn.Module) -> None:
    mesh = init_device_mesh("cpu", (4,))
    fully_shard(model.up, mesh=mesh)
    fully_shard(model, mesh=mesh)


def hybrid(model: nn.Module) -> None:
    fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard")))


def two_axes(model: nn.Module) -> None:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tensor"))
    plan = {"up": ColwiseParallel(), "down": RowwiseParallel(), "last": ColwiseParallel()}
    parallelize_module(model, mesh["tensor"], plan)
    fully_shard(model.up, mesh=mesh["shard"])
    fully_shard(model, mesh=mesh["shard"])


LAYOUTS: dict[str, Callable[[nn.Module], None]] = {
    "whole": whole,
    "sharded": sharded,
    "hybrid": hybrid,
    "two axes": two_axes,
}


def build(layout: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = Network()
    LAYOUTS[layout](model)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2, foreach=False)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        model(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def full(value: Any) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors whole, by the names that they have in a checkpoint; put together by PyTorch itself."""
    found = {f"model/{name}": full(tensor).detach().clone() for name, tensor in model.state_dict().items()}
    for name, weight in model.named_parameters():
        for key, value in optimizer.state[weight].items():
            found[f"optimizer/{name}/{key}"] = full(value).detach().clone()
    return found


def first(rank: int) -> Callable[[str], bool]:
    """Two ranks share the plain tensors."""
    return lambda name: rank == (1 if name == "up.bias" else 0)


def relayout(folder: Path, ranks: SimpleNamespace) -> None:
    """Every layout is written, and read into every other and into the same one again."""
    for layout in LAYOUTS:
        model, optimizer = build(layout)
        train(model, optimizer, range(3))
        expected = everything(model, optimizer)
        run = folder / layout.replace(" ", "_")
        pieces = optimizer_state.pieces(model, optimizer, first(ranks.rank))
        checkpoint.save(run, 3, 0, 0.0, pieces, {}, Keep(), ranks)
        found, damaged = checkpoint.latest(run, ranks)
        assert found is not None
        assert not damaged
        assert set(found.names()) == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(found.tensor(name), tensor), (layout, name)
        for other in LAYOUTS:
            fresh, again = build(other)
            optimizer_state.restore(found, fresh, again)
            restored = everything(fresh, again)
            assert all(torch.equal(restored[name], tensor) for name, tensor in expected.items()), (layout, other)
            if other == layout:
                kinds = [type(value) for state in again.state.values() for value in state.values()]
                assert kinds == [type(value) for state in optimizer.state.values() for value in state.values()]
                train(fresh, again, range(3, 5))
                train(model, optimizer, range(3, 5))
                after, expected_after = everything(fresh, again), everything(model, optimizer)
                assert all(torch.equal(after[name], tensor) for name, tensor in expected_after.items()), layout


def failing(folder: Path, ranks: SimpleNamespace) -> None:
    """One rank cannot write: all say so, nothing counts; and what is damaged is damaged for all."""

    def piece(kind: torch.dtype = torch.float32) -> list[Piece]:
        return [Piece("model/a", (ranks.size,), (ranks.rank,), torch.ones(1, dtype=kind))]

    checkpoint.save(folder, 1, 0, 0.0, piece(), {}, Keep(), ranks)
    strange = torch.complex64 if ranks.rank == 1 else torch.float32
    for step, pieces, message in (
        (2, piece(strange), "rank 1: weights-00002-of-00002.safetensors: no file holds tensors of type"),
        (2, piece(torch.float64 if ranks.rank else torch.float32), "is float32 (2,) on one rank, and float64 (2,) on"),
        (2, piece() if ranks.rank else [], "has 2 elements, and all ranks together write 1"),
        (2, [whole_piece("model/a", torch.ones(2))], "has 2 elements, and all ranks together write 4"),
    ):
        try:
            checkpoint.save(folder, step, 0, 0.0, pieces, {}, Keep(), ranks)
        except RunError as error:
            assert message in str(error), str(error)
        else:
            raise AssertionError(message)
    dist.barrier()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000001"]
    dist.barrier()
    done = checkpoint.save(folder, 2, 0, 0.0, piece(), {}, Keep(), ranks)
    if ranks.rank == 0:
        with (done.path / "weights-00002-of-00002.safetensors").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"!")
    dist.barrier()
    found, damaged = checkpoint.latest(folder, ranks)
    assert found is not None
    assert found.step == 1
    assert [one.reason for one in damaged] == ["weights-00002-of-00002.safetensors is not as it was written"]


def meanwhile(folder: Path, layout: Layout) -> None:
    """Threads write while the ranks go on summing; what happened is known on all of them in the same step."""
    ranks = join(layout)
    weight, reported = torch.ones(1 << 20), list[int]()
    saver = Saver(folder, Keep(2), ranks, lambda done: reported.append(done.step), asynchronous=True)
    half = len(weight) // 2

    def pieces(kind: torch.dtype = torch.float32) -> list[Piece]:
        return [Piece("model/a", (2 * half,), ranks.rank * half, weight[ranks.rank * half :][:half].to(kind))]

    assert saver.try_out(pieces(), {}, Schedule(100, 10, None)) > 0
    saver.check_room(Schedule(100, 10, None), pieces)
    for step in range(1, 41):
        weight += 1
        dist.all_reduce(torch.ones(1000))
        saver.look()
        told = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
        dist.all_gather(told, torch.tensor([len(reported)]))
        assert told[0] == told[1], step
        if step % 10 == 0:
            saver.save(step, 0, 0.0, pieces(), {})
    saver.wait()
    assert reported == [10, 20, 30, 40]
    found, _ = checkpoint.latest(folder, ranks)
    assert found is not None
    assert found.tensor("model/a").unique().tolist() == [41.0]
    saver.save(50, 0, 0.0, pieces(torch.complex64 if ranks.rank == 1 else torch.float32), {})
    for _ in range(10_000):
        dist.all_reduce(torch.ones(10))
        try:
            saver.look()
        except RunError as error:
            assert "rank 1: weights-00002-of-00002.safetensors: no file holds" in str(error), str(error)
            break
    else:
        raise AssertionError("no error was told")
    dist.all_reduce(torch.ones(10))


def lost(folder: Path, ranks: SimpleNamespace) -> None:
    """One rank dies while the others write."""
    peers = checkpoint.join_peers(ranks)
    if ranks.rank == 1:
        os._exit(9)
    try:
        peers.each(dict)
    except RunError as error:
        assert "another rank was lost" in str(error), str(error)
        (folder / "said").write_text(str(error))
        os._exit(0)


def main() -> None:
    scene, folder = sys.argv[1], Path(sys.argv[2])
    dist.init_process_group("gloo")
    ranks = SimpleNamespace(rank=dist.get_rank(), size=dist.get_world_size())
    if scene == "meanwhile":
        meanwhile(folder, Layout(shard=2))
    else:
        {"relayout": relayout, "failing": failing, "lost": lost}[scene](folder, ranks)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
