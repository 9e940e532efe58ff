"""Settings that change a run's bits and not its name (effect `numerics`): those it began with, and those of now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.errors import RunError
from runners.events import read_events
from runners.plan import read_manifest
from specc.manifest import Manifest


@dataclass(frozen=True)
class Change:
    """One setting, in the plan that a run began with and in the plan of now."""

    path: str
    before: Any
    now: Any


def changes(run: Path, manifest: Manifest, stage: str) -> tuple[Change, ...]:
    """Numerics settings of the stage that differ from those the run began with.

    Empty for a run that never began, and for one whose first plan cannot be read any more.
    """
    first = _first_plan(run)
    if first is None:
        return ()
    plans = (first, manifest)
    paths = {
        path: None  # a dict keeps the order of the spec
        for plan in plans
        for path, setting in plan.settings.items()
        if setting.effect == "numerics" and _concerns(path, stage)
    }
    values = {path: [plan.settings[path].value if path in plan.settings else None for plan in plans] for path in paths}
    return tuple(Change(path, before, now) for path, (before, now) in values.items() if before != now)


def told(found: tuple[Change, ...]) -> str:
    """Such as `stages.pretrain.precision fp32 and not bf16`."""
    return ", ".join(f"{change.path} {_word(change.before)} and not {_word(change.now)}" for change in found)


def check_resumed(name: str, run: Path, manifest: Manifest, stage: str) -> str | None:
    """What to say when an unfinished run goes on under other numerics; RunError when it would change precision."""
    found = changes(run, manifest, stage)
    for change in found:
        if change.path.rpartition(".")[2] == "precision":
            before, now = _word(change.before), _word(change.now)
            raise RunError(f"{name} began with {change.path} {before}, and the plan now says {now}: use --fresh")
    return f"{name} began with {told(found)}; it goes on with what the plan says now" if found else None


def _first_plan(run: Path) -> Manifest | None:
    """The manifest of the plan that a run began with, or None where there is none to read."""
    started = next((event for event in read_events(run) if event["type"] == "run_started"), None)
    if started is None:
        return None
    try:
        return read_manifest((run / started["plan"]).resolve())
    except RunError:
        return None


def _concerns(path: str, stage: str) -> bool:
    """Whether a setting is the stage's own, or of no stage."""
    return path.startswith(f"stages.{stage}.") or not path.startswith("stages.")


def _word(value: Any) -> str:
    return "unset" if value is None else str(value)
