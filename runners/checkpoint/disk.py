"""Whether the disk can hold the checkpoints of a run, asked before the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from runners.checkpoint.folders import FOLDER, Keep
from runners.checkpoint.peers import Peers, Said
from runners.checkpoint.piece import Piece
from runners.errors import RunError


@dataclass(frozen=True)
class Schedule:
    """When a run saves, and how much."""

    steps: int
    every: int
    """Steps between two checkpoints."""
    bytes: int | None
    """Of one checkpoint; None where nobody knows."""


def at_once(keep: Keep, schedule: Schedule) -> int:
    """Checkpoints on disk at the fullest moment: those that are kept, and the one that is being written."""
    saved = -(-schedule.steps // schedule.every)
    for_good = 0 if keep.every is None else schedule.steps // keep.every
    return min(saved, keep.last + 1 + for_good)


def check_room(run: Path, keep: Keep, schedule: Schedule, pieces: Callable[[], Iterable[Piece]], peers: Peers) -> None:
    """RunError, on every rank, when the file system of a run has less free than its checkpoints will take.

    Without a size in the schedule, one checkpoint is at least what `pieces` of all ranks hold now.
    """
    size = schedule.bytes
    if size is None:
        parts = peers.each(lambda: {"bytes": sum(piece.tensor.nbytes for piece in pieces())})
        size = sum(part["bytes"] for part in parts)
    peers.first(lambda: _compared(run, size, at_once(keep, schedule)))


def _compared(run: Path, size: int, count: int) -> Said:
    there = sum(file.stat().st_size for file in (run / FOLDER).glob("step-*/*"))
    needed, free = size * count - there, shutil.disk_usage(run).free
    if needed > free:
        raise RunError(
            f"{count} checkpoints of {size / 1e9:,.2f} GB are on disk at once, and {run} has room for "
            f"{free / 1e9:,.2f} GB more where {needed / 1e9:,.2f} GB are needed; "
            "make room, or lower `checkpoint.keep_last`"
        )
    return {}
