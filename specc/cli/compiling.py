"""`check`, `compile`, `plan`: nothing is executed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc import driver, ir
from specc.cli import show
from specc.diagnostics.render import FORMATS

if TYPE_CHECKING:
    from specc.writing import Written

STALE = 3
"""Exit code of `compile --check` when the folder is not what the spec says."""

SPEC = click.argument("spec", type=click.Path(path_type=Path))
SETS = click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change one value; may be repeated.")
FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), default="full", help="Form of diagnostics.")


@click.command()
@SPEC
@SETS
@FORMAT
def check(spec: Path, sets: tuple[str, ...], form: str) -> None:
    """Say what is wrong with SPEC, all of it, in under a second."""
    outcome = driver.check(spec, sets)
    show.diagnostics(outcome, form)
    if outcome.plan is None:
        sys.exit(1)
    if form == "full":
        click.echo(f"{spec}: ok, {_facts(outcome.plan)}")


@click.command("compile")
@SPEC
@SETS
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("generated"), show_default=True)
@click.option("--stage", "stages", multiple=True, metavar="NAME", help="Insist on code for this stage.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 3 when the folder is stale.")
@click.option("--force", is_flag=True, help="Overwrite files that were edited by hand.")
@FORMAT
def compile_(
    spec: Path, sets: tuple[str, ...], out: Path, stages: tuple[str, ...], only_check: bool, force: bool, form: str
) -> None:
    """Write the code, plans, jobs and suites of SPEC to OUT/NAME/."""
    outcome = driver.check(spec, sets, stages)
    show.diagnostics(outcome, form)
    if outcome.plan is None:
        sys.exit(1)
    from specc.writing import EditedError, compare, write

    artifacts = emitted(outcome.plan)
    folder = out / outcome.plan.experiment.name
    if only_check:
        found = compare(folder, artifacts)
        _changes(folder, found, "is stale" if found.stale else "is up to date")
        sys.exit(STALE if found.stale else 0)
    try:
        _changes(folder, write(folder, artifacts, force=force), "written")
    except EditedError as edited:
        fail(f"{edited}; move the change into the spec, or discard it with --force")
    except OSError as error:
        fail(f"{error.filename or folder} cannot be written: {error.strerror or error}")
    click.echo(_facts(outcome.plan))


@click.command()
@SPEC
@SETS
@click.option("--json", "as_json", is_flag=True, help="Documented keys, for other programs.")
def plan(spec: Path, sets: tuple[str, ...], as_json: bool) -> None:
    """Say what SPEC needs and costs before anything runs: memory, time, money, layout."""
    from specc.planning import render, to_json

    outcome = driver.check(spec, sets)
    show.diagnostics(outcome, "full")
    if outcome.plan is None:
        sys.exit(1)
    click.echo(json.dumps(to_json(outcome.plan), indent=2) if as_json else render(outcome.plan))


COMMANDS: tuple[click.Command, ...] = (check, compile_, plan)


def emitted(plan: ir.Plan) -> tuple[Any, ...]:
    """The artifacts; a bug in specc is said to be one."""
    from specc.formatting import GeneratedCodeError

    try:
        return driver.emit(plan)
    except GeneratedCodeError as error:
        click.echo(
            f"error[SPC901]: specc emitted Python that does not parse; this is a bug in specc\n{error}", err=True
        )
        sys.exit(70)


def fail(message: str) -> None:
    """One line to stderr, exit code 1."""
    click.echo(f"error: {message}", err=True)
    sys.exit(1)


def _changes(folder: Path, written: Written, verb: str) -> None:
    counts = f"{len(written.added)} new, {len(written.changed)} changed, {len(written.removed)} removed"
    click.echo(f"{folder} {verb}: {counts}, {len(written.unchanged)} unchanged")
    marks: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("+", written.added),
        ("~", written.changed),
        ("-", written.removed),
    )
    for mark, paths in marks:
        for path in paths:
            click.echo(f"  {mark} {path}")


def _facts(plan: ir.Plan) -> str:
    """Size, stages and price in a line."""
    experiment = plan.experiment
    names = ", ".join(stage.name for stage in experiment.stages)
    facts = [f"{experiment.model.parameters:,} parameters", f"stages {names}"]
    days = sum(stage.duration_s or 0.0 for stage in plan.stages) / 86400
    cost = sum(stage.cost_usd or 0.0 for stage in plan.stages)
    if days >= 0.1:
        facts.append(f"about {days:,.1f} days" + (f" and ${cost:,.0f}" if cost else ""))
    return "; ".join(facts)
