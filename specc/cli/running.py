"""`run`: compile, then execute the stages on this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import click

from specc import driver
from specc.cli import show
from specc.cli.compiling import SETS, SPEC, emitted, fail, lint_levels
from specc.diagnostics.levels import Levels

RUNS = click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
_PLAN_DIGITS = 12


@click.command()
@SPEC
@click.argument("stages", nargs=-1)
@SETS
@RUNS
@click.option("--fresh", is_flag=True, help="Start again even where a run exists already.")
@lint_levels
def run(spec: Path, stages: tuple[str, ...], sets: tuple[str, ...], runs: Path, fresh: bool, levels: Levels) -> None:
    """Compile SPEC and execute its STAGES (default: all) here. What is complete is kept; what was stopped resumes."""
    outcome = driver.check(spec, sets, stages, levels=levels)
    if outcome.plan is not None and not stages:
        stages = tuple(stage.name for stage in outcome.plan.experiment.stages)
        outcome = driver.check(spec, sets, stages, levels=levels)
    show.diagnostics(outcome, "full")
    if outcome.plan is None:
        sys.exit(1)
    if find_spec("torch") is None:
        fail("running needs PyTorch: pip install 'specc[eval]'")
    from specc.writing import EditedError, write

    artifacts = emitted(outcome.plan)
    address = sha256(artifacts[-1].text.encode("utf-8")).hexdigest()[:_PLAN_DIGITS]
    folder = runs / outcome.plan.experiment.name / "plans" / address
    try:
        write(folder, artifacts)
    except EditedError as edited:
        fail(f"{edited}; a plan that ran is a record and is not overwritten")
    command = [sys.executable, "-m", "runners.local", str(folder), "--stages", ",".join(stages)]
    child = subprocess.Popen([*command, *(["--fresh"] if fresh else [])])
    # The terminal sends its interrupt to the stage as well, which saves its state: we wait for that.
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.exit(child.wait())


COMMANDS: tuple[click.Command, ...] = (run,)
