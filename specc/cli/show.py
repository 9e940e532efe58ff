"""How outcomes are shown on a terminal."""

from __future__ import annotations

import os
import sys

import click

from specc.diagnostics.render import render, summary
from specc.driver import Outcome


def colours(stream: object) -> bool:
    """Colours for a terminal only, and never under NO_COLOR (no-color.org)."""
    is_terminal = getattr(stream, "isatty", lambda: False)()
    return bool(is_terminal) and not os.environ.get("NO_COLOR")


def diagnostics(outcome: Outcome, form: str) -> None:
    """Every diagnostic: to stdout where a tool reads them, else to stderr. Notes are one line in the full form."""
    if form != "full":
        click.echo(render(outcome.diagnostics, outcome.texts, form))
        return
    loud = tuple(d for d in outcome.diagnostics if d.severity != "note")
    quiet = tuple(d for d in outcome.diagnostics if d.severity == "note")
    if loud:
        click.echo(render(loud, outcome.texts, "full", colour=colours(sys.stderr)) + "\n", err=True)
    if quiet:
        click.echo(render(quiet, outcome.texts, "concise") + "\n", err=True)
    if outcome.failed or any(d.fix is not None and d.fix.safe for d in outcome.diagnostics):
        click.echo(summary(outcome.diagnostics), err=True)
