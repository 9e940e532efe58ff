"""Writes a checkpoint: every rank its own files, rank 0 the index last; whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from runners.checkpoint import index as index_file
from runners.checkpoint.folders import Keep, folder_of, prune, remember, replaced, sync
from runners.checkpoint.geometry import Sizes
from runners.checkpoint.index import Index, StoredFile, StoredPiece, StoredTensor, place
from runners.checkpoint.peers import Peers, Ranks, Said, join_peers
from runners.checkpoint.piece import MODEL, Piece
from runners.checkpoint.reading import Checkpoint
from runners.errors import RunError
from runners.tensor_files import Entry, write

WEIGHTS = "weights.safetensors"
"""The file of the weights, where one rank writes all of them."""


@dataclass(frozen=True)
class State:
    """What a checkpoint holds."""

    step: int
    tokens: int
    seconds: float
    pieces: Iterable[Piece]
    """What this rank writes."""
    scalars: Mapping[str, Any]
    """Plain values, the same on every rank."""


def save(
    run: Path,
    step: int,
    tokens: int,
    seconds: float,
    pieces: Iterable[Piece],
    scalars: Mapping[str, Any],
    keep: Keep,
    ranks: Ranks | None = None,
) -> Checkpoint:
    """Write the checkpoint of `step`, then delete those that `keep` does not keep.

    Every rank has to call it. RunError, the same on every rank, when a rank could not write, or when the pieces of all
    ranks together are not each element once; what was written before is untouched then.
    """
    return put(run, State(step, tokens, seconds, pieces, dict(scalars)), keep, join_peers(ranks))


def put(run: Path, state: State, keep: Keep, peers: Peers) -> Checkpoint:
    """`save` in a group of ranks that is there already."""
    final = folder_of(run, state.step)
    written = write_to(final, state, peers)
    remember(written.path)
    prune(run, keep, peers)
    return written


def write_to(final: Path, state: State, peers: Peers) -> Checkpoint:
    """Write a checkpoint as the folder `final`, which takes the place of one that is there."""
    held: dict[str, list[Piece]] = {}
    groups = peers.each(lambda: {"groups": sorted(_group(state.pieces, held))})
    plan = peers.first(lambda: _begun(final, [one["groups"] for one in groups]))
    temporary, names = Path(plan["folder"]), plan["names"][peers.rank]
    try:
        parts = peers.each(lambda: _write(temporary, state.step, held, names))
        peers.first(lambda: _finish(temporary, final, state, parts))
    except RunError:
        # What is half written counts for nothing, and on a full disk its space is needed.
        if peers.is_first:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Checkpoint(final, Index.from_bytes((final / index_file.FILE).read_bytes()))


def file_names(groups: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """For each rank, the file of each group that it has pieces of: numbered where several ranks have."""
    names: list[dict[str, str]] = [{} for _ in groups]
    for group in sorted({group for some in groups for group in some}):
        writers = [rank for rank, some in enumerate(groups) if group in some]
        word = Path(WEIGHTS).stem if group == MODEL else group
        for number, rank in enumerate(writers, 1):
            place = "" if len(writers) == 1 else f"-{number:05d}-of-{len(writers):05d}"
            names[rank][group] = f"{word}{place}.safetensors"
    return names


def _group(pieces: Iterable[Piece], groups: dict[str, list[Piece]]) -> Iterable[str]:
    """Sort pieces by the file that they go to; the groups that there are."""
    for piece in pieces:
        if not piece.fits():
            raise RunError(f"a piece of `{piece.name}` at {piece.offset} of {piece.size} is not in {piece.shape}")
        groups.setdefault(piece.group, []).append(piece)
    return groups


def _begun(final: Path, groups: list[list[str]]) -> Said:
    """Make the folder that is written to, beside its place."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return {"folder": str(temporary), "names": file_names(groups)}


def _write(folder: Path, step: int, groups: Mapping[str, list[Piece]], names: Mapping[str, str]) -> Said:
    """Write this rank's files; what they are, and where each piece lies."""
    said: Said = {"files": {}, "pieces": []}
    for group, pieces in groups.items():
        path = folder / names[group]
        keyed = {piece.key(): piece for piece in pieces}
        if len(keyed) != len(pieces):
            raise RunError(f"two pieces of group `{group}` have the same place")
        digest = _stream(path, keyed, step)
        said["files"][path.name] = {"bytes": path.stat().st_size, "sha256": digest}
        for key, piece in keyed.items():
            kind = str(piece.tensor.dtype).removeprefix("torch.")
            said["pieces"].append([piece.name, kind, piece.shape, path.name, key, piece.offset, piece.size])
    return said


def _stream(path: Path, pieces: Mapping[str, Piece], step: int) -> str:
    """Write one file, a tensor at a time; its SHA-256. Wide types come first, so that every value is aligned."""
    ordered = sorted(pieces, key=lambda key: -pieces[key].tensor.element_size())
    entries = {key: Entry(path, _shape(pieces[key]), pieces[key].tensor.dtype) for key in ordered}

    def tensor(key: str) -> Tensor:
        return pieces[key].tensor.detach().cpu().reshape(entries[key].shape)

    try:
        return write(path, entries, tensor)
    except KeyError as error:
        raise RunError(f"{path.name}: no file holds tensors of type {error}") from None
    except OSError as error:
        raise RunError(_full(path, error, entries, step)) from None


def _shape(piece: Piece) -> Sizes:
    return (piece.size,) if isinstance(piece.size, int) else piece.size


def _full(path: Path, error: OSError, entries: Mapping[str, Entry], step: int) -> str:
    """Why a file could not be written; a full disk in numbers."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{path}: {error.strerror or error}"
    needs = sum(entry.bytes for entry in entries.values())
    free = shutil.disk_usage(path.parent).free
    return (
        f"the checkpoint of step {step:,} could not be written: {error.strerror}; {path.name} needs {needs:,} bytes, "
        f"and {free:,} are free where {path.parent.parent} lies; make room and run the same command"
    )


def _finish(temporary: Path, final: Path, state: State, parts: list[Said]) -> Said:
    """Write the index, and let the folder take its place."""
    files = {name: StoredFile(**file) for part in parts for name, file in sorted(part["files"].items())}
    tensors = _tensors([piece for part in parts for piece in part["pieces"]])
    found = Index(state.step, state.tokens, state.seconds, state.scalars, files, tensors)
    path = temporary / index_file.FILE
    try:
        path.write_bytes(found.to_bytes())
    except (ValueError, TypeError) as error:
        raise RunError(f"the scalars of a checkpoint are no plain finite values: {error}") from None
    sync(path)
    sync(temporary)
    aside = replaced(final)
    if final.exists():
        shutil.rmtree(aside, ignore_errors=True)
        final.rename(aside)
    temporary.rename(final)
    sync(final.parent)
    shutil.rmtree(aside, ignore_errors=True)
    return {}


def _tensors(pieces: list[list[Any]]) -> dict[str, StoredTensor]:
    """The tensors that all ranks' pieces make up; RunError where they are not each element once."""
    found: dict[str, tuple[str, Sizes, list[StoredPiece]]] = {}
    for name, kind, shape, file, key, offset, size in pieces:
        entry = found.setdefault(name, (kind, tuple(shape), []))
        if entry[:2] != (kind, tuple(shape)):
            raise RunError(f"`{name}` is {entry[0]} {entry[1]} on one rank, and {kind} {tuple(shape)} on another")
        entry[2].append(StoredPiece(file, key, place(offset), place(size)))
    for name, (_, shape, parts) in found.items():
        held = sum(part.count for part in parts)
        if held != prod(shape):
            raise RunError(f"`{name}` has {prod(shape):,} elements, and all ranks together write {held:,}")
    return {name: StoredTensor(kind, shape, tuple(parts)) for name, (kind, shape, parts) in found.items()}
