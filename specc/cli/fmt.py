"""`fmt`: specs in their one layout."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from specc.cli.compiling import fail
from specc.diagnostics.render import render


@click.command()
@click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SPEC...")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit code 1 and the diff where it would.")
@click.option("--diff", "only_diff", is_flag=True, help="Write nothing; show what would change.")
def fmt(specs: tuple[Path, ...], only_check: bool, only_diff: bool) -> None:
    """Lay out SPECs: keys in the order of the language, one spelling, every comment kept. Meaning never changes."""
    from specc.canonical.rewrite import changes

    changed = 0
    for spec in specs:
        before, after = _formatted(spec)
        if before == after:
            continue
        changed += 1
        if only_check or only_diff:
            click.echo("\n".join(changes(before, after, spec.as_posix())))
            continue
        try:
            spec.write_text(after, encoding="utf-8", newline="\n")
        except OSError as error:
            fail(f"{spec} cannot be written: {error.strerror or error}")
        click.echo(f"{spec}: laid out")
    click.echo(f"{changed} of {len(specs)} {'would change' if only_check or only_diff else 'changed'}", err=True)
    sys.exit(1 if only_check and changed else 0)


def _formatted(spec: Path) -> tuple[str, str]:
    """The text of a file as it is, and as it should be; a text that cannot be laid out ends the command."""
    from specc.canonical import FormatError, format_text
    from specc.source import SpecErrors

    try:
        before = spec.read_bytes().decode("utf-8")
        return before, format_text(before.replace("\r\n", "\n"), spec.as_posix())
    except UnicodeDecodeError as error:
        fail(f"{spec}: byte {error.start:,} is not UTF-8; it stays as it is")
    except OSError as error:
        fail(f"{spec} cannot be read: {error.strerror or error}")
    except FormatError as error:
        fail(f"{spec}: {error}; it stays as it is")
    except SpecErrors as errors:
        click.echo(render(errors.diagnostics, {spec.as_posix(): before}, "full"), err=True)
        sys.exit(1)
    raise AssertionError("every way out of this is taken above")


COMMANDS: tuple[click.Command, ...] = (fmt,)
