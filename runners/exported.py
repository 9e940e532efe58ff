"""The export stage: the last checkpoint of another stage as transformers reads it, below the run's `huggingface/`."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from runners import checkpoint, huggingface
from runners.errors import RunError
from runners.events import has_finished
from runners.huggingface import Handover, origin_of
from runners.imported import check_model
from runners.moves import read_moves
from runners.places import beside_spec
from runners.progress import clock
from runners.run import Run, console, execute, name_of, recorded
from runners.tensor_files import Stored, read_json

FOLDER = "huggingface"


@dataclass(frozen=True)
class Exported:
    """Every decision of an export stage."""

    stage: str
    base: str
    """The stage whose last checkpoint is written."""
    description: str
    """File beside the program with the config and the moves of tensors."""
    averaged: bool = False
    """Whether the moving average of the weights is written."""


def hand_over(model: type[nn.Module], exported: Exported) -> None:
    """Run the stage as a program: `--run DIR --from stage=RUN`."""
    execute(exported.stage, model, lambda run: _hand_over(run, model, exported))


def _hand_over(run: Run, model: type[nn.Module], exported: Exported) -> None:
    out = console()
    if has_finished(run.directory):
        out.print(f"{run.name} is already complete")
        return
    if exported.base not in run.upstream:
        raise RunError(f"the run of stage `{exported.base}` is not given; add `--from {exported.base}=RUN_DIR`")
    with recorded(run, None, torch.device("cpu")) as events:
        started = time.monotonic()
        base = run.upstream[exported.base]
        found = checkpoint.required(base)
        found = found.averaged() if exported.averaged else found
        weights = found.stored()
        check_model(model, weights, found.path)
        target = run.directory / FOLDER
        shutil.rmtree(target, ignore_errors=True)  # of an attempt that did not finish
        done = huggingface.hand_over(_handover(run, exported, weights), target)
        seconds = time.monotonic() - started
        events.write("measurement", name="duration_s", value=seconds)
        events.write("run_finished", state="finished", step=None, error=None, seconds=seconds)
        events.sync()
        size = f"{done['tensors']:,} tensors, {done['bytes']:,} bytes"
        out.print(f"{run.name} finished: {name_of(base)} in {target}, {size}, in {clock(seconds)}")


def _handover(run: Run, exported: Exported, weights: Stored) -> Handover:
    description, declared = read_json(run.plan / exported.description), run.manifest.tokenizer
    return Handover(
        weights,
        description["config"],
        read_moves(description["moves"]),
        declared,
        beside_spec(declared["path"]) if "path" in declared else None,
        origin_of(run.upstream[exported.base]),
        run.manifest.model["context_length"],
        {Path(file).name: (run.plan / file).read_text(encoding="utf-8") for file in description["files"]},
    )
