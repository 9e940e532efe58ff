"""Stages of a plan as command lines: where each one runs, what it reads, and in which order."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runners import numerics
from runners.data import address, check_unchanged
from runners.errors import RunError
from runners.events import data_read, has_finished
from specc.manifest import Manifest


@dataclass(frozen=True)
class Command:
    """One stage as a command line."""

    stage: str
    run: Path
    arguments: tuple[str, ...]


def run_folder(experiment: Path, manifest: Manifest, stage: str) -> Path:
    """The newest run directory of a stage, whether it exists or not."""
    first = experiment / f"{stage}-{manifest.stages[stage].key}"
    newest = first
    while (following := _following(first, newest)).is_dir():
        newest = following
    return newest


def fresh_folder(experiment: Path, manifest: Manifest, stage: str) -> Path:
    """A run directory that does not exist yet."""
    newest = run_folder(experiment, manifest, stage)
    first = experiment / f"{stage}-{manifest.stages[stage].key}"
    return _following(first, newest) if newest.is_dir() else newest


def command_for(plan: Path, experiment: Path, manifest: Manifest, stage: str, run: Path) -> Command:
    """How to execute a stage; RunError when this version generated no program for it."""
    entry = manifest.stages[stage]
    if entry.program is None:
        raise RunError(f"this version of specc generates no program for stage `{stage}` of kind `{entry.kind}`")
    reads = [f"{base}={run_folder(experiment, manifest, base)}" for base in entry.after]
    upstream = [argument for read in reads for argument in ("--from", read)]
    return Command(stage, run, (sys.executable, str(plan / entry.program), "--run", str(run), *upstream))


def in_order(manifest: Manifest, stages: Sequence[str]) -> tuple[str, ...]:
    """The stages, each after those that it reads; RunError for a name that the plan does not have."""
    unknown = [stage for stage in stages if stage not in manifest.stages]
    if unknown:
        raise RunError(f"there is no stage `{unknown[0]}`; there are {', '.join(manifest.stages)}")
    # The compiler writes the manifest in an order in which stages can run.
    return tuple(stage for stage in manifest.stages if stage in stages)


def check_upstream(experiment: Path, manifest: Manifest, stages: Iterable[str]) -> None:
    """RunError when a stage reads one that is neither complete nor asked for."""
    asked = set(stages)
    for stage in asked:
        for base in manifest.stages[stage].after:
            if base not in asked and not has_finished(run_folder(experiment, manifest, base)):
                raise RunError(f"stage `{stage}` reads `{base}`, which is not complete; ask for `{base}` too")


def said_complete(experiment: Path, manifest: Manifest, stage: str, run: Path) -> str | None:
    """How to say that the run of a stage is complete, or None when it is not; RunError when its texts changed since.

    Such as `complete already, with stages.pretrain.precision fp32 and not bf16`.
    """
    if not has_finished(run):
        return None
    before = data_read(run)
    now = {name: address(experiment, manifest, name) for name in before}
    check_unchanged(f"{experiment.name}/{run.name}", before, now)
    changed = numerics.changes(run, manifest, stage)
    return f"complete already, with {numerics.told(changed)}" if changed else "complete already"


def _following(first: Path, run: Path) -> Path:
    """`pretrain-3f2a` is followed by `pretrain-3f2a-2`, that by `-3`."""
    number = 1 if run == first else int(run.name.rpartition("-")[2])
    return first.with_name(f"{first.name}-{number + 1}")
