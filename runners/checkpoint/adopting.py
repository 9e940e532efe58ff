"""Weights from elsewhere as the first checkpoint of a run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from runners.checkpoint.folders import folder_of, sync
from runners.checkpoint.index import FILE, Index, StoredFile, StoredPiece, StoredTensor
from runners.checkpoint.piece import MODEL
from runners.checkpoint.reading import Checkpoint
from runners.checkpoint.writing import WEIGHTS
from runners.documents import file_hash
from runners.errors import RunError
from runners.tensor_files import open_file


def adopt(run: Path, weights: Path, sha256: str) -> Checkpoint:
    """Make a weights file from elsewhere the checkpoint of step 0; RunError when its hash is another.

    It is linked where the file system can, so that 140 GB are not written twice; what is read later is verified again.
    """
    found = file_hash(weights)
    if found != sha256:
        raise RunError(f"{weights} has SHA-256 {found[:12]}..., and the spec says {sha256[:12]}...: other weights")
    final = folder_of(run, 0)
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        (temporary / WEIGHTS).hardlink_to(weights.resolve())
    except OSError:  # another file system, or one without links
        shutil.copyfile(weights, temporary / WEIGHTS)
    index = _index(weights, sha256)
    (temporary / FILE).write_bytes(index.to_bytes())
    for path in (*temporary.iterdir(), temporary):
        sync(path)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync(final.parent)
    return Checkpoint(final, index)


def _index(weights: Path, sha256: str) -> Index:
    """Each tensor of the file is a weight, whole, under its own name."""
    tensors = {}
    for name, entry in open_file(weights).entries.items():
        piece = StoredPiece(WEIGHTS, name, (0,) * len(entry.shape), entry.shape)
        tensors[f"{MODEL}/{name}"] = StoredTensor(str(entry.dtype).removeprefix("torch."), entry.shape, (piece,))
    return Index(0, 0, 0.0, {}, {WEIGHTS: StoredFile(weights.stat().st_size, sha256)}, tensors)
