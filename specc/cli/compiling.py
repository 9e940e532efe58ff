"""`check`, `compile`, `plan`: nothing is executed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc import driver, ir
from specc.cli import show
from specc.cli.dumping import DUMP, writer
from specc.diagnostics.levels import WARNINGS, Levels, refuse
from specc.diagnostics.render import FORMATS

if TYPE_CHECKING:
    from specc.writing import Written

STALE = 3
"""Exit code of `compile --check` when the folder is not what the spec says."""

SPEC = click.argument("spec", type=click.Path(path_type=Path))
SETS = click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change one value; may be repeated.")
FORMAT = click.option("--format", "form", type=click.Choice(FORMATS), default="full", help="Form of diagnostics.")


def _codes(act: str) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[str, ...]]:
    def check_codes(context: click.Context, parameter: click.Parameter, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            said = None if act == "deny" and code == WARNINGS else refuse(code, act)
            if said is not None:
                raise click.BadParameter(f"{said[1]}; {said[2]}", context, parameter)
        return codes

    return check_codes


def lint_levels(command: Callable[..., None]) -> Callable[..., None]:
    """`--allow`, `--warn`, `--deny`: handed to the command as one `levels`."""

    @wraps(command)
    def run(allow: tuple[str, ...], warn: tuple[str, ...], deny: tuple[str, ...], **others: Any) -> None:
        command(levels=Levels(allow, warn, deny), **others)

    told = {
        "deny": "Make an error of a code, or of all `warnings`; may be repeated.",
        "warn": "Make a warning of a code, also of one that is off; may be repeated.",
        "allow": "Do not report a code; may be repeated.",
    }
    for act, text in told.items():
        run = click.option(f"--{act}", multiple=True, metavar="CODE", callback=_codes(act), help=text)(run)
    return run


@click.command()
@SPEC
@SETS
@FORMAT
@lint_levels
@click.option("--fix", "fixing", is_flag=True, help="Apply the safe fixes to the files, and show them as a diff.")
@click.option("--diff", "only_diff", is_flag=True, help="Show what --fix would do, and write nothing.")
@DUMP
def check(
    spec: Path,
    sets: tuple[str, ...],
    form: str,
    levels: Levels,
    fixing: bool,
    only_diff: bool,
    dump: Path | None,
) -> None:
    """Say what is wrong with SPEC, all of it, in under a second."""
    if fixing or only_diff:
        outcome = _fix(spec, sets, levels, form, only_diff=only_diff)
    else:
        outcome = driver.check(spec, sets, levels=levels, watch=writer(dump))
    show.diagnostics(outcome, form)
    if outcome.plan is None:
        sys.exit(1)
    if form == "full" and not only_diff:
        click.echo(f"{spec}: ok, {_facts(outcome.plan)}")


@click.command("compile")
@SPEC
@SETS
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("generated"), show_default=True)
@click.option("--stage", "stages", multiple=True, metavar="NAME", help="Insist on code for this stage.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 3 when the folder is stale.")
@click.option("--force", is_flag=True, help="Overwrite files that were edited by hand.")
@FORMAT
@lint_levels
@DUMP
def compile_(
    spec: Path,
    sets: tuple[str, ...],
    out: Path,
    stages: tuple[str, ...],
    only_check: bool,
    force: bool,
    form: str,
    levels: Levels,
    dump: Path | None,
) -> None:
    """Write the code, plans, jobs and suites of SPEC to OUT/NAME/."""
    outcome = driver.check(spec, sets, stages, levels=levels, watch=writer(dump))
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
@lint_levels
@DUMP
def plan(spec: Path, sets: tuple[str, ...], as_json: bool, levels: Levels, dump: Path | None) -> None:
    """Say what SPEC needs and costs before anything runs: memory, time, money, layout."""
    from specc.planning import render, to_json

    outcome = driver.check(spec, sets, levels=levels, watch=writer(dump))
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


def _fix(spec: Path, sets: tuple[str, ...], levels: Levels, form: str, *, only_diff: bool) -> driver.Outcome:
    """Fix what is safe; the diff goes to stdout, or to stderr where another program reads the diagnostics there."""
    from specc import fixing

    fixed = fixing.fix(spec, sets, lambda source: driver.check_source(source, levels=levels))
    aside = form != "full"
    if fixed.changed:
        click.echo(fixing.diff(fixed), nl=False, err=aside)
    if not only_diff:
        try:
            fixing.write(fixed)
        except (OSError, ValueError) as error:
            fail(f"nothing was fixed: {error}")
    for reason in fixed.refused:
        click.echo(f"not fixed: {reason}", err=True)
    count = f"{fixed.mended} {'mistake' if fixed.mended == 1 else 'mistakes'}"
    if fixed.mended:
        click.echo(f"would fix {count}" if only_diff else f"fixed {count}", err=True)
    else:
        click.echo("nothing here has a safe fix", err=True)
    return fixed.outcome


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
