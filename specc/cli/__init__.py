"""The command line: one short function a command."""

from __future__ import annotations

import os
import sys
import traceback

import click

from specc import __version__
from specc.cli import asking, compiling, completion, fmt, init, language, queries, running, schema

BUG = 70
"""Exit code of a bug in specc (sysexits.h, EX_SOFTWARE)."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="specc")
def specc() -> None:
    """Compile, plan, run and compare language-model experiments from one YAML spec."""


for command in (
    *compiling.COMMANDS,
    *language.COMMANDS,
    *asking.COMMANDS,
    *fmt.COMMANDS,
    *running.COMMANDS,
    *schema.COMMANDS,
    *init.COMMANDS,
    *completion.COMMANDS,
    queries.runs,
    queries.compare,
    queries.sql,
    queries.sync,
):
    specc.add_command(command)


def main() -> None:
    """Entry point. Exit codes: 0 ok, 1 the spec has errors, 2 usage, 3 stale output, 70 a bug in specc."""
    try:
        # The same name however it was started: usage, and the variable of shell completion, are made of it.
        specc(prog_name="specc")
    except BrokenPipeError:
        # The reader of a pipe, such as `head`, has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception:  # noqa: BLE001  # the last resort: whatever is not a diagnostic is our mistake, and says so
        traceback.print_exc()
        click.echo("error: this is a bug in specc, not in your spec; please report it with the lines above", err=True)
        sys.exit(BUG)
