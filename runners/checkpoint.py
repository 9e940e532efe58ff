"""Checkpoints that are whole or not there: written beside their place, synced, renamed; verified by hash when read.

    checkpoints/step-00000400/
      weights.safetensors    the model
      training_state.pt      optimizer and loss scale, tensors and plain values only; none of imported weights
      checkpoint.json        step, tokens, seconds, and the SHA-256 of the other files

A damaged checkpoint is never used: the one before it is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from runners.documents import file_hash
from runners.errors import RunError

FOLDER = "checkpoints"
WEIGHTS = "weights.safetensors"
STATE = "training_state.pt"
INDEX = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk, its hashes verified."""

    path: Path
    step: int
    """Optimizer steps done."""
    tokens: int
    """Target tokens trained on."""
    seconds: float
    """Time spent in the training loop, over all attempts, for the steps that count."""
    sha256: Mapping[str, str]

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(file.stat().st_size for file in self.path.iterdir())

    def weights(self) -> dict[str, Tensor]:
        """The model's weights by name, on the CPU."""
        return load_file(self.path / WEIGHTS)

    def load_into(self, model: nn.Module) -> None:
        """Give a model these weights, in the types that it has; RunError when they are of another model."""
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise RunError(f"{self.path} is of another model than this plan: {reason}") from None

    def state(self) -> dict[str, Any]:
        """Optimizer and loss scale; unpickles tensors and plain values only."""
        loaded: dict[str, Any] = torch.load(self.path / STATE, map_location="cpu", weights_only=True)
        return loaded


def save(
    run: Path,
    step: int,
    tokens: int,
    seconds: float,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: int,
) -> Checkpoint:
    """Write the checkpoint of `step`, then delete all but the last `keep`."""
    home = run / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    final = home / f"step-{step:08d}"
    temporary = home / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, temporary / WEIGHTS)
    torch.save(dict(state), temporary / STATE)
    hashes = {name: file_hash(temporary / name) for name in (WEIGHTS, STATE)}
    index = {"step": step, "tokens": tokens, "seconds": seconds, "sha256": hashes}
    (temporary / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if final.exists():  # of an earlier attempt: the same step, saved again
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(home)
    for old in _by_step(home)[keep:]:
        shutil.rmtree(old)
    return Checkpoint(final, step, tokens, seconds, hashes)


def adopt(run: Path, weights: Path, sha256: str) -> Checkpoint:
    """Make a weights file from elsewhere the checkpoint of step 0; RunError when its hash is another.

    It is linked where the file system can, so that 140 GB are not written twice; what is read later is verified again.
    """
    found = file_hash(weights)
    if found != sha256:
        raise RunError(f"{weights} has SHA-256 {found[:12]}..., and the spec says {sha256[:12]}...: other weights")
    home = run / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    final = home / "step-00000000"
    temporary = home / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        (temporary / WEIGHTS).hardlink_to(weights.resolve())
    except OSError:  # another file system, or one without links
        shutil.copyfile(weights, temporary / WEIGHTS)
    index = {"step": 0, "tokens": 0, "seconds": 0.0, "sha256": {WEIGHTS: sha256}}
    (temporary / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _sync(home)
    return Checkpoint(final, 0, 0, 0.0, {WEIGHTS: sha256})


def latest(run: Path) -> tuple[Checkpoint | None, tuple[Path, ...]]:
    """The newest checkpoint that is whole, and the newer ones that are not."""
    damaged: list[Path] = []
    for path in _by_step(run / FOLDER):
        found = _verified(path)
        if found is not None:
            return found, tuple(damaged)
        damaged.append(path)
    return None, tuple(damaged)


def set_aside(damaged: Path) -> Path:
    """Rename a damaged checkpoint, so that it counts no longer when old ones are deleted; return its new place."""
    place = damaged.with_name(f"damaged-{damaged.name}")
    shutil.rmtree(place, ignore_errors=True)
    return damaged.rename(place)


def required(run: Path) -> Checkpoint:
    """The newest whole checkpoint of another run; RunError when there is none."""
    found, damaged = latest(run)
    if found is None:
        reason = f"only damaged ones: {damaged[0].name}" if damaged else "none"
        raise RunError(f"{run} holds no checkpoint to read ({reason}); run its stage first")
    return found


def remove_unfinished(run: Path) -> None:
    """Delete what a kill left half written. Only the writer of the run may call this."""
    for path in (run / FOLDER).glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _by_step(home: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    return sorted(home.glob("step-*"), reverse=True)


def _verified(path: Path) -> Checkpoint | None:
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        if any(file_hash(path / name) != expected for name, expected in index["sha256"].items()):
            return None
        return Checkpoint(path, index["step"], index["tokens"], index["seconds"], index["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
