"""What is to be exported: a run, or a folder that was imported, with the plan that its weights belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specc import driver, ir
from specc.backends import modeling
from specc.formatting import format_folders
from specc.ir.modeling import unwritten
from specc.native import Description, NoClassError, describe
from specc.spec.base import values_of
from specc.spec.defaults import defaulted
from specc.spec.spec import Spec

SPEC = "spec.yaml"
EVENTS = "events.jsonl"
LOCK = "experiment.lock.yaml"
WEIGHTS = "weights.safetensors"
ORIGIN = "huggingface"


class NotExportableError(Exception):
    """What was named holds no model that can be exported; the message says why, and what would."""


@dataclass(frozen=True)
class Exportable:
    """A model with the place of its weights."""

    plan: ir.Plan
    spec: Spec
    stage: str
    run: Path | None
    """The run whose last checkpoint is meant; None for a folder that was imported."""
    folder: Path
    """Where paths of the spec are seen from."""

    @property
    def family(self) -> str | None:
        """The `model_type` that the weights go back to, where they were imported."""
        stage = self.plan.experiment.stage(self.stage)
        while not isinstance(stage.work, ir.Import):
            if not stage.after:
                return None
            stage = self.plan.experiment.stage(stage.after[0])
        return stage.work.family

    @property
    def imported(self) -> Path | None:
        """The folder of weights that were imported and not trained."""
        work = self.plan.experiment.stage(self.stage).work
        return self.folder / work.path if self.run is None and isinstance(work, ir.Import) else None

    def described(self, module: str, family: str | None) -> Description:
        """The model for transformers: by a class of it, or with code of ours (`generated`, or `auto` where none fits).

        NoClassError where none of its classes computes it, NotExportableError where we write no code.
        """
        if module == "generated":
            return self._generated()
        model = self.spec.model
        rows = self.plan.experiment.model.vocab_size
        try:
            return describe(values_of(model, list), set(defaulted(model)), rows, family or self.family)
        except NoClassError as no_class:
            if module == "native" or family is not None:
                raise
            if no_code := unwritten(self.plan.experiment.model):
                raise NotExportableError(f"{no_class}; and {no_code}") from None
            return self._generated()

    def _generated(self) -> Description:
        model = self.plan.experiment.model
        if no_code := unwritten(model):
            raise NotExportableError(no_code)
        (files,) = format_folders((modeling.modeling(self.plan),))
        return Description(modeling.config(model), modeling.moves(model), {file.path: file.text for file in files})

    @property
    def tokenizer(self) -> Mapping[str, Any]:
        """As runners take it."""
        found = self.plan.experiment.tokenizer
        return {"kind": found.kind, "end_of_document": found.end_of_document, **found.files}

    @property
    def tokenizer_folder(self) -> Path | None:
        """Where the files of the tokenizer lie; None where it has none."""
        path = self.tokenizer.get("path")
        return None if path is None else self.folder / Path(path).expanduser()


def find(named: str, runs: Path) -> Exportable:
    """The model that a path, the name of a run or its short id stands for; NotExportableError when there is none."""
    path = Path(named)
    if (path / SPEC).is_file() and not (path / EVENTS).is_file():
        return _imported(path)
    return _of_run(_run(named, path, runs))


def _imported(folder: Path) -> Exportable:
    plan, spec = _plan(folder / SPEC)
    stages = [stage.name for stage in plan.experiment.stages if isinstance(stage.work, ir.Import)]
    if not stages:
        raise NotExportableError(f"{folder / SPEC} imports no weights; name the run of a stage that trained")
    return Exportable(plan, spec, stages[0], None, folder)


def _run(named: str, path: Path, runs: Path) -> Path:
    """The directory of a run."""
    direct = [candidate for candidate in (path, runs / named) if (candidate / EVENTS).is_file()]
    if direct:
        return direct[0]
    found = sorted(file.parent for file in runs.glob(f"*/*-*/{EVENTS}") if _is_called(file.parent, named))
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{run.parent.name}/{run.name}" for run in found[:4])
        raise NotExportableError(f"`{named}` is the name of {len(found):,} runs: {listed}")
    raise NotExportableError(f"{named} is neither a run below {runs} nor a folder that `specc import` wrote")


def _is_called(run: Path, named: str) -> bool:
    """Whether a run is meant by its name without the hash, or by the first digits of that."""
    stage, _, key = run.name.partition("-")
    return named in (f"{run.parent.name}/{stage}", run.name) or (len(named) >= 6 and key.startswith(named))


def _of_run(run: Path) -> Exportable:
    started = next((event for event in _events(run) if event.get("type") == "run_started"), None)
    if started is None:
        raise NotExportableError(f"{run} was never started")
    plan, spec = _plan(run / str(started["plan"]) / LOCK)
    stage = plan.experiment.stage(str(started["stage"]))
    if not isinstance(stage.work, ir.Training | ir.Import):
        raise NotExportableError(f"{run} is a run of kind `{stage.kind}`, which leaves no model")
    return Exportable(plan, spec, stage.name, run, Path(str(started.get("folder", "."))))


def _events(run: Path) -> Iterator[Mapping[str, Any]]:
    """Whole events of a run; a line that a kill tore is left out, as every reader does."""
    with (run / EVENTS).open(encoding="utf-8", errors="replace") as file:
        yield from (event for line in file if (event := _whole(line)) is not None)


def _whole(line: str) -> Mapping[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _plan(spec: Path) -> tuple[ir.Plan, Spec]:
    outcome = driver.check(spec)
    if outcome.plan is None or outcome.spec is None:
        said = next((f": {found.headline}" for found in outcome.diagnostics if found.severity == "error"), "")
        raise NotExportableError(f"{spec} is no spec of one experiment{said}")
    return outcome.plan, outcome.spec
