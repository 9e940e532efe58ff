"""Tries out saving before hours depend on it: what comes back from the disk is compared with what is in memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from torch import Tensor

from runners.checkpoint.folders import CANARY, FOLDER
from runners.checkpoint.peers import Peers, Said
from runners.checkpoint.piece import Piece
from runners.checkpoint.reading import Checkpoint
from runners.checkpoint.writing import State, write_to
from runners.errors import RunError


def try_out(run: Path, state: State, peers: Peers) -> int:
    """Save, read back, compare bit for bit and delete again; the bytes of a checkpoint. RunError when they differ."""
    held = State(state.step, state.tokens, state.seconds, tuple(state.pieces), state.scalars)
    place = run / FOLDER / CANARY
    written = write_to(place, held, peers)
    size = written.bytes  # before rank 0 deletes it
    peers.each(lambda: _compare(written, held))
    peers.first(lambda: _removed(place))
    return size


def _compare(written: Checkpoint, held: State) -> Said:
    for name in written.files:
        _forget(written.path / name)
    for piece in held.pieces:
        if not _same(_read(written, piece), piece.tensor):
            raise RunError(
                f"`{piece.name}` came back from {written.path} with other bits than were written there: "
                "no checkpoint of this run could be trusted; run it on another file system"
            )
    return {}


def _read(written: Checkpoint, piece: Piece) -> Tensor:
    if isinstance(piece.offset, int):
        return written.read_flat(piece.name, piece.offset, piece.offset + piece.tensor.numel())
    return written.read(piece.name, piece.offset, tuple(piece.tensor.shape))


def _same(one: Tensor, other: Tensor) -> bool:
    """To the bit, also where a value is no number."""
    flat = (tensor.detach().cpu().contiguous().view(-1) for tensor in (one, other))
    first, second = (tensor.view(torch.uint8) for tensor in flat)
    return torch.equal(first, second)


def _forget(path: Path) -> None:
    """Have a file read from the disk and not from memory, where the system can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _removed(place: Path) -> Said:
    shutil.rmtree(place)
    return {}
