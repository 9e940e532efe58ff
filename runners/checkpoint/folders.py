"""The folder of a run's checkpoints: which are whole, which count, what is deleted and what is set aside."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners.checkpoint.index import FILE, Index, Outdated, Unreadable
from runners.checkpoint.peers import Peers, Ranks, Said, join_peers
from runners.checkpoint.piece import MODEL
from runners.checkpoint.reading import Checkpoint
from runners.documents import file_hash
from runners.errors import RunError

FOLDER = "checkpoints"
CANARY = "canary"
"""Where saving is tried out."""
_STEP = re.compile(r"(?:\.replaced-)?step-(\d+)")
_OLD_STATE = "training_state.pt"


@dataclass(frozen=True)
class Keep:
    """Which checkpoints are not deleted."""

    last: int = 2
    """The newest ones that are whole."""
    every: int | None = None
    """Steps: of each stretch of so many, the first checkpoint is kept for good."""

    def kept_for_good(self, steps: Sequence[int]) -> set[int]:
        """Those of `steps` that are never deleted: the first at or after each multiple of `every`."""
        first: dict[int, int] = {}
        for step in sorted(steps, reverse=True):
            if self.every is not None and step >= self.every:
                first[step // self.every] = step
        return set(first.values())


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that is not as it was written."""

    path: Path
    reason: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.path.name


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / FOLDER / f"step-{step:08d}"


def replaced(final: Path) -> Path:
    """Where a checkpoint waits while a new one of its step takes its place."""
    return final.with_name(f".replaced-{final.name}")


def latest(
    run: Path, ranks: Ranks | None = None, *, only: str | None = None, before: int | None = None
) -> tuple[Checkpoint | None, tuple[Damaged, ...]]:
    """The newest checkpoint that is whole, and the newer ones that are not.

    Every rank has to call it; each hashes its share of the files. `only` (`model`) hashes just the files of one group,
    for a reader of nothing else; `before` asks for one of that step or an earlier one. RunError for a checkpoint of an
    earlier format.
    """
    peers = join_peers(ranks)
    listed = peers.first(lambda: {"folders": [str(path) for path in by_step(run / FOLDER)]})
    damaged: list[Damaged] = []
    for path in map(Path, listed["folders"]):
        if before is not None and step_of(path) > before:
            continue
        found = opened(path, peers, only)
        if isinstance(found, Checkpoint):
            if only is None:
                remember(path)
            return found, tuple(damaged)
        damaged.append(found)
    return None, tuple(damaged)


def forget_after(run: Path, step: int) -> None:
    """Delete the checkpoints of later steps: the run goes on from this one, another way. For rank 0 alone."""
    for path in by_step(run / FOLDER):
        if step_of(path) > step:
            shutil.rmtree(path)


def required(run: Path, ranks: Ranks | None = None) -> Checkpoint:
    """The newest checkpoint of another run whose weights are whole; RunError when there is none."""
    found, damaged = latest(run, ranks, only=MODEL)
    if found is None:
        reason = f"only damaged ones: {damaged[0].name}, {damaged[0].reason}" if damaged else "none"
        raise RunError(f"{run} holds no checkpoint to read ({reason}); run its stage first")
    return found


def opened(path: Path, peers: Peers, only: str | None = None) -> Checkpoint | Damaged:
    """A checkpoint whose files are those that it was written with, or what is wrong with it."""
    found: list[Checkpoint] = []

    def look() -> Said:
        try:
            checkpoint = _complete(path)
            _compare(checkpoint, only, peers.rank, peers.size)
        except (Unreadable, OSError) as error:
            return {"damage": _reason(error)}
        found.append(checkpoint)
        return {}

    said = peers.each(look)
    reasons = [one["damage"] for one in said if "damage" in one]
    verdict = peers.first(lambda: {"damage": reasons[0]} if reasons else {})
    if "damage" in verdict:
        return Damaged(path, verdict["damage"])
    return found[0]


def set_aside(damaged: Damaged) -> Path:
    """Rename a damaged checkpoint, so that it counts no longer; return its new place. For rank 0 alone."""
    place = damaged.path.with_name(f"damaged-{damaged.name.removeprefix('.replaced-')}")
    shutil.rmtree(place, ignore_errors=True)
    return damaged.path.rename(place)


def remove_unfinished(run: Path) -> None:
    """Delete what a kill left half written. Only the writer of the run may call this, and of its ranks the first."""
    home = run / FOLDER
    for pattern in (".step-*", ".replaced-step-*", CANARY, f".{CANARY}.*"):
        for path in home.glob(pattern):
            # A kill between two renames leaves the old checkpoint of a step in no place but this.
            if path == replaced(folder_of(run, step_of(path))) and not folder_of(run, step_of(path)).exists():
                continue
            shutil.rmtree(path, ignore_errors=True)


def prune(run: Path, keep: Keep, peers: Peers) -> None:
    """Delete the checkpoints that are neither among the last whole ones nor kept for good.

    Every rank has to call it. One that an earlier process wrote is hashed once, before it counts as whole.
    """
    while (unknown := peers.first(lambda: _pruned(run / FOLDER, keep))["unknown"]) is not None:
        path = Path(unknown)
        whole = isinstance(opened(path, peers), Checkpoint)
        if peers.is_first:
            remember(path, whole=whole)


def remember(path: Path, *, whole: bool = True) -> None:
    """Note whether a checkpoint is whole: it was just written or hashed."""
    _seen[path] = (_stamp(path), whole)


_seen: dict[Path, tuple[tuple[object, ...], bool]] = {}
"""Checkpoints that this process wrote or hashed: what the file system said of their files then, and whether whole."""


def _pruned(home: Path, keep: Keep) -> Said:
    """Delete what is not kept, unless a checkpoint that may count was never hashed: then name it."""
    paths = by_step(home)
    counted: list[Path] = []
    for path in paths:
        if len(counted) == keep.last:
            break
        stamp, whole = _seen.get(path, ((), False))
        if stamp != _stamp(path):
            return {"unknown": str(path)}
        counted += [path] * whole
    oldest = step_of(counted[-1]) if len(counted) == keep.last else -1
    for_good = keep.kept_for_good([step_of(path) for path in paths])
    for path in paths:
        if step_of(path) < oldest and step_of(path) not in for_good:
            shutil.rmtree(path)
            _seen.pop(path, None)
    return {"unknown": None}


def by_step(home: Path) -> list[Path]:
    """Checkpoint folders, newest first; also one that a kill left while another was to take its place."""
    found = {step_of(path): path for path in home.glob(".replaced-step-*")}
    found |= {step_of(path): path for path in home.glob("step-*")}
    return [found[step] for step in sorted(found, reverse=True)]


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint's folder; -1 where it has none."""
    named = _STEP.fullmatch(path.name)
    return int(named[1]) if named else -1


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complete(path: Path) -> Checkpoint:
    """A checkpoint with exactly the files that its index names; Unreadable, OSError, or RunError for an old format."""
    if (path / _OLD_STATE).is_file():
        raise RunError(_outdated(path))
    try:
        index = Index.from_bytes((path / FILE).read_bytes())
    except Outdated:
        raise RunError(_outdated(path)) from None
    there = {file.name for file in path.iterdir()} - {FILE}
    if lacking := sorted(index.files.keys() - there):
        raise Unreadable(f"{lacking[0]} is missing")
    if stray := sorted(there - index.files.keys()):
        raise Unreadable(f"{stray[0]} is none of its files")
    for name, file in index.files.items():
        size = (path / name).stat().st_size
        if size != file.bytes:
            raise Unreadable(f"{name} is of {size:,} bytes, and was of {file.bytes:,}")
    if index.step != step_of(path):
        raise Unreadable(f"it is of step {index.step}")
    return Checkpoint(path, index)


def _compare(checkpoint: Checkpoint, only: str | None, rank: int, size: int) -> None:
    """Hash every `size`-th file from `rank` on; Unreadable when one is another."""
    names = sorted(_files_of(checkpoint, only))
    for name in names[rank::size]:
        if file_hash(checkpoint.path / name) != checkpoint.files[name].sha256:
            raise Unreadable(f"{name} is not as it was written")


def _files_of(checkpoint: Checkpoint, only: str | None) -> Iterator[str]:
    if only is None:
        yield from checkpoint.files
        return
    names = checkpoint.names(f"{only}/")
    yield from {piece.file for name in names for piece in checkpoint.index.tensors[name].pieces}


def _reason(error: Unreadable | OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(str(error.filename)).name} is missing"
    return str(error) if isinstance(error, Unreadable) else (error.strerror or str(error))


def _outdated(path: Path) -> str:
    return (
        f"{path} was written by an earlier version of specc, in a form that is read no longer; "
        "--fresh runs the stage again"
    )


def _stamp(path: Path) -> tuple[object, ...]:
    """What changes when a file does: a program can set back the time of modification, but not that of the change."""
    states = ((file.name, file.stat()) for file in sorted(path.iterdir()))
    return tuple((name, state.st_ino, state.st_size, state.st_ctime_ns) for name, state in states)
