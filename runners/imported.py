"""The import stage: weights that `specc import` wrote beside the spec become the first checkpoint of a run."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from runners import checkpoint
from runners.errors import RunError
from runners.events import has_finished
from runners.moves import check_shapes
from runners.places import beside_spec
from runners.progress import clock
from runners.run import Run, console, execute, recorded
from runners.tensor_files import Stored, open_file

ORIGIN = "huggingface"
"""Folder with what came beside the weights: config, generation settings, tokenizer. It goes along for an export."""


@dataclass(frozen=True)
class Imported:
    """Every decision of an import stage."""

    stage: str
    path: str
    """Folder of the weights, seen from the spec."""
    sha256: str


def take_over(model: type[nn.Module], imported: Imported) -> None:
    """Run the stage as a program: `--run DIR`."""
    execute(imported.stage, model, lambda run: _take_over(run, model, imported))


def check_model(model: type[nn.Module], stored: Stored, file: Path) -> int:
    """The number of parameters of a model; RunError where the tensors of a file are not its weights."""
    with torch.device("meta"):
        network = model()
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_shapes({name: entry.shape for name, entry in stored.entries.items()}, wanted, f"the model ({file})")
    return sum(weight.numel() for weight in network.parameters())


def _take_over(run: Run, model: type[nn.Module], imported: Imported) -> None:
    out = console()
    if has_finished(run.directory):
        out.print(f"{run.name} is already complete")
        return
    with recorded(run, None, torch.device("cpu")) as events:
        started = time.monotonic()
        checkpoint.remove_unfinished(run.directory)
        folder = beside_spec(imported.path)
        weights = folder / checkpoint.WEIGHTS
        if not weights.is_file():
            raise RunError(
                f"{folder} holds no {checkpoint.WEIGHTS}: `stages.{imported.stage}.path` is seen from the spec"
            )
        parameters = check_model(model, open_file(weights), weights)
        if (folder / ORIGIN).is_dir():
            shutil.copytree(folder / ORIGIN, run.directory / ORIGIN, dirs_exist_ok=True)
        done = checkpoint.adopt(run.directory, weights, imported.sha256)
        path = done.path.relative_to(run.directory).as_posix()
        events.write("checkpoint", step=0, path=path, bytes=done.bytes, sha256=dict(done.sha256))
        seconds = time.monotonic() - started
        events.write("measurement", name="parameters", value=parameters)
        events.write("measurement", name="duration_s", value=seconds)
        events.write("run_finished", state="finished", step=0, error=None, seconds=seconds)
        events.sync()
        out.print(f"{run.name} finished: {parameters:,} parameters, verified in {clock(seconds)}")
