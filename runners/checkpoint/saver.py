"""Saves the checkpoints of a run, one after the other; where it is asked to, while training goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from runners.checkpoint.canary import try_out
from runners.checkpoint.disk import Schedule, check_room
from runners.checkpoint.folders import Keep
from runners.checkpoint.peers import Peers, join_peers
from runners.checkpoint.piece import Piece
from runners.checkpoint.reading import Checkpoint
from runners.checkpoint.writing import State, put
from runners.errors import RunError
from runners.ranks import Ranks

Report = Callable[[Checkpoint], None]


class Saver:
    """Every rank has one and calls the same methods in the same order.

    Asynchronous, the state is copied to host memory, which takes as many bytes as this rank writes, and a thread writes
    the files. At most one checkpoint is on its way; `report` is called, by the thread that trains, once it is on disk.
    """

    def __init__(self, run: Path, keep: Keep, ranks: Ranks, report: Report, *, asynchronous: bool = False) -> None:
        self.run, self.keep, self.ranks, self.report = run, keep, ranks, report
        self._peers: Peers = join_peers(ranks)
        self._thread = ThreadPoolExecutor(1, "checkpoint") if asynchronous else None
        self._under_way: Future[Checkpoint] | None = None
        self._buffers: dict[str, Tensor] = {}

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A run that fails for another reason still reports what it was saving."""
        if isinstance(error, RunError):
            with suppress(RunError):
                self.wait()

    def save(self, step: int, tokens: int, seconds: float, pieces: Iterable[Piece], scalars: Mapping[str, Any]) -> None:
        """Write a checkpoint, or begin to; the one before it is on disk when this returns. RunError when it failed."""
        self.wait()
        state = State(step, tokens, seconds, pieces, dict(scalars))
        if self._thread is None:
            self.report(put(self.run, state, self.keep, self._peers))
            return
        copied = self._copied(state)
        self._under_way = self._thread.submit(put, self.run, copied, self.keep, self._peers)

    def look(self) -> None:
        """Between two steps: report what is on disk by now. RunError, on every rank at once, when it failed."""
        # The group of the peers belongs to the thread while it writes.
        if self._under_way is not None and not self.ranks.agree(not self._under_way.done()):
            self.wait()

    def wait(self) -> None:
        """Return when nothing is on its way, having reported it. RunError when it failed."""
        if self._under_way is not None:
            done, self._under_way = self._under_way, None
            self.report(done.result())

    def check_room(self, schedule: Schedule, pieces: Callable[[], Iterable[Piece]]) -> None:
        """RunError when the disk cannot hold all checkpoints of the run at once; `pieces` give a size where none is."""
        check_room(self.run, self.keep, schedule, pieces, self._peers)

    def try_out(self, pieces: Iterable[Piece], scalars: Mapping[str, Any], schedule: Schedule) -> float:
        """Save, read back, compare bit for bit and delete again; the seconds that it took.

        RunError when what was read is not what was written, or when the disk cannot hold more of that size.
        """
        began = time.monotonic()
        size = try_out(self.run, State(1, 0, 0.0, pieces, dict(scalars)), self._peers)
        check_room(self.run, self.keep, Schedule(schedule.steps, schedule.every, size), tuple, self._peers)
        return time.monotonic() - began

    def _copied(self, state: State) -> State:
        """The state in host memory; what a rank has no memory for, all ranks are told when they write."""
        try:
            pieces = tuple(self._copy(piece) for piece in state.pieces)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
        except (RuntimeError, MemoryError) as error:
            reason = str(error).splitlines()[0] if str(error) else "out of memory"
            return State(state.step, state.tokens, state.seconds, _Failed(reason), state.scalars)
        return State(state.step, state.tokens, state.seconds, pieces, state.scalars)

    def _copy(self, piece: Piece) -> Piece:
        """A piece in a buffer that serves the next checkpoint too; pinned, so that a GPU copies at full speed."""
        at = f"{piece.name} {piece.offset}"
        values, buffer = piece.tensor.detach(), self._buffers.get(at)
        if buffer is None or buffer.shape != values.shape or buffer.dtype != values.dtype:
            buffer = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
            self._buffers[at] = buffer
        buffer.copy_(values, non_blocking=values.is_cuda)
        return Piece(piece.name, piece.shape, piece.offset, buffer)


class _Failed(Iterable[Piece]):
    """Pieces that could not be copied."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __iter__(self) -> Any:
        raise RunError(f"no room in host memory for an asynchronous checkpoint: {self.reason}")
