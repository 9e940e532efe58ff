"""`init`: a first spec, from a preset or from a short dialogue."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specc.cli import show
from specc.cli.compiling import fail

if TYPE_CHECKING:
    from specc.driver import Outcome
    from specc.starting import Machines, Preset

_DEFAULT = "quickstart"


def _preset_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del ctx, parameter
    from specc.starting import presets

    return [name for name in presets() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False)
@click.option("--preset", metavar="PRESET", shell_complete=_preset_names, help="The shipped spec to start from.")
@click.option("--data", metavar="GLOB", help="Where the texts to train on lie; for presets of one source.")
@click.option("--device", metavar="DEVICE", help="Name in the hardware catalogue, such as cpu or h100_sxm.")
@click.option("--devices", type=click.IntRange(1), metavar="N", help="How many of them.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write; default NAME.yaml.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def init(
    name: str | None,
    preset: str | None,
    data: str | None,
    device: str | None,
    devices: int | None,
    out: Path | None,
    force: bool,
) -> None:
    """Write a commented spec that works, called NAME; without arguments on a terminal, ask what it should say."""
    if (name, preset, data, device, devices) == (None, None, None, None, None) and sys.stdin.isatty():
        _ask(out, force)
        return
    start = _preset(preset or _DEFAULT)
    called = name or start.name
    machines = _machines(start, device, devices)
    if data is not None and start.path is None:
        fail(f"preset `{start.name}` reads several sources: leave --data out, and change their paths in the file")
    _write(out or Path(f"{called}.yaml"), start, called, data, machines, force=force)


def _ask(out: Path | None, force: bool) -> None:
    from specc.planning import DEVICES
    from specc.starting import Machines, compose, presets

    known = presets()
    click.echo("What do you want to start from?\n")
    for preset in known.values():
        click.echo(f"  {preset.name:<12}  {preset.title}")
    click.echo()
    start = known[click.prompt("Preset", type=click.Choice(list(known)), default=_DEFAULT, show_choices=False)]
    name = click.prompt("Name of the experiment", default=start.name)
    target = out or Path(f"{name}.yaml")
    data = click.prompt("Texts to train on (a glob)", default=start.path) if start.path else None
    data = None if data == start.path else data
    given = _given(start)
    while True:
        device = click.prompt("Device", type=click.Choice(list(DEVICES)), default=given.device)
        count = click.prompt("How many", type=click.IntRange(1), default=given.count if device == given.device else 1)
        answered = Machines(device, count)
        machines = None if answered == given else answered
        outcome = _check(compose(start, name, data, machines), target) if _even(count) else None
        if outcome is not None and not outcome.failed:
            break
        if outcome is not None:
            show.diagnostics(outcome, "full")
        click.echo("That does not work; other devices?" if outcome else "More than 8 devices: take a multiple of 8.")
    _write(target, start, name, data, machines, force=force)


def _even(count: int) -> bool:
    """Whether so many devices fill nodes of eight, or one smaller node."""
    return count <= 8 or count % 8 == 0


def _preset(name: str) -> Preset:
    from specc.diagnostics.near import nearest
    from specc.starting import presets

    known = presets()
    if name not in known:
        near = nearest(name, list(known))
        fail(
            f"there is no preset `{name}`; "
            + (f"did you mean `{near}`?" if near else f"it is one of {', '.join(known)}")
        )
    return known[name]


def _given(start: Preset) -> Machines:
    """The machines that a preset stands for."""
    from specc import driver
    from specc.source import read_text
    from specc.starting import Machines

    outcome = driver.check_source(read_text(start.text, f"{start.name}.yaml", Path.cwd()))
    assert outcome.plan is not None
    cluster = outcome.plan.cluster
    return Machines(cluster.device.name, cluster.nodes * cluster.devices_per_node)


def _machines(start: Preset, device: str | None, devices: int | None) -> Machines | None:
    if device is None and devices is None:
        return None
    from specc.starting import Machines

    if devices is not None and not _even(devices):
        raise click.UsageError("--devices: more than 8 are nodes of 8, so take a multiple of 8")
    given = _given(start)
    return Machines(device or given.device, devices or (given.count if device in (None, given.device) else 1))


def _check(text: str, target: Path) -> Outcome:
    from specc import driver
    from specc.source import SpecErrors, read_text

    try:
        return driver.check_source(read_text(text, str(target), target.parent))
    except SpecErrors as errors:
        return driver.Outcome((), errors.diagnostics, errors.texts)


def _write(target: Path, start: Preset, name: str, data: str | None, machines: Machines | None, *, force: bool) -> None:
    from specc.reference.json_schema import as_text, schema
    from specc.reference.sections import language
    from specc.starting import compose, schema_file

    if target.exists() and not force:
        fail(f"{target} is there already; write elsewhere with -o, or over it with --force")
    text = compose(start, name, data, machines)
    outcome = _check(text, target)
    if outcome.failed:
        show.diagnostics(outcome, "full")
        fail("nothing was written")
    try:
        schema_file(target).parent.mkdir(parents=True, exist_ok=True)
        schema_file(target).write_text(as_text(schema(language())), encoding="utf-8")
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename or target} cannot be written: {error.strerror or error}")
    click.echo(f"{target} written, from preset {start.name}; {schema_file(target)} is for your editor")
    click.echo(f"next: specc check {target}")


COMMANDS: tuple[click.Command, ...] = (init,)
