"""The processes that write or read one checkpoint together: what one says to the others, and one error for all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from runners.errors import RunError

PATIENCE = timedelta(hours=2)
"""How long ranks wait for the slowest one's files; one that died is noticed at once."""
Said = dict[str, Any]
"""Plain values, which go as JSON: nothing of another process is unpickled."""


class Ranks(Protocol):
    """Where this process stands among all."""

    @property
    def rank(self) -> int:
        """0 for the first."""

    @property
    def size(self) -> int:
        """How many there are."""


@dataclass(frozen=True)
class Peers:
    """All ranks, or this process alone."""

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None
    """Of gloo, and of nobody else: a thread can speak in it while training speaks in others."""

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def each(self, action: Callable[[], Said]) -> list[Said]:
        """Do something on every rank; rank 0 gets what each said, the others nothing.

        RunError, with the same message on every rank, when one or more of them failed.
        """
        said = self._gathered(self._tried(action))
        failed = [(rank, one["error"]) for rank, one in enumerate(said) if "error" in one]
        self._settled({"error": self._named(*failed[0])} if failed else {})
        return said

    def first(self, action: Callable[[], Said]) -> Said:
        """Do something on rank 0, and hand what it said to every rank; RunError on every rank when it failed."""
        return self._settled(self._tried(action) if self.is_first else {})

    def _tried(self, action: Callable[[], Said]) -> Said:
        try:
            return action()
        except RunError as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": f"{error.filename or 'a checkpoint'}: {error.strerror or error}"}
        except (RuntimeError, MemoryError) as error:  # of torch: no memory, a lost device
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'out of memory'}"}

    def _named(self, rank: int, error: str) -> str:
        return error if self.size == 1 else f"rank {rank}: {error}"

    def _settled(self, said: Said) -> Said:
        """What rank 0 says, on every rank; RunError when it is an error."""
        told = said if self.group is None else _broadcast(said, self)
        if "error" in told:
            raise RunError(told["error"])
        return told

    def _gathered(self, said: Said) -> list[Said]:
        return [said] if self.group is None else _gather(said, self)


def join_peers(ranks: Ranks | None) -> Peers:
    """A group of all ranks for checkpoints alone. Every rank has to call it, at the same place."""
    if ranks is None or ranks.size == 1:
        return Peers()
    return Peers(ranks.rank, ranks.size, dist.new_group(backend="gloo", timeout=PATIENCE))


def _gather(said: Said, peers: Peers) -> list[Said]:
    """What all ranks said, on rank 0; texts are padded to the longest, which is what gloo can gather."""
    content = _as_bytes(said)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(peers.size)]
    with _Lost():
        dist.all_gather(lengths, torch.tensor([len(content)]), group=peers.group)
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(content)] = content
        found = [torch.empty_like(padded) for _ in lengths] if peers.is_first else None
        dist.gather(padded, found, group=peers.group, group_dst=0)
    return [_from_bytes(text[: int(length)]) for text, length in zip(found or (), lengths, strict=False)]


def _broadcast(said: Said, peers: Peers) -> Said:
    content = _as_bytes(said)
    length = torch.tensor([len(content)])
    with _Lost():
        dist.broadcast(length, group=peers.group, group_src=0)
        text = content if peers.is_first else torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(text, group=peers.group, group_src=0)
    return _from_bytes(text)


def _as_bytes(said: Said) -> Tensor:
    return torch.frombuffer(bytearray(json.dumps(said).encode("utf-8")), dtype=torch.uint8)


def _from_bytes(text: Tensor) -> Said:
    said: Said = json.loads(bytes(text.numpy()))
    return said


class _Lost:
    """Turns what a group says when one of its processes is gone into a plain error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RuntimeError):
            raise RunError(f"another rank was lost over a checkpoint: {str(error).splitlines()[0]}") from None
