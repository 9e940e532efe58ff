"""The commands that answer questions about the language itself: explain."""

from __future__ import annotations

import click

from specc.cli.compiling import fail
from specc.cli.completion import codes
from specc.diagnostics import pages
from specc.diagnostics.near import nearest


@click.command()
@click.argument("code", required=False, shell_complete=codes)
def explain(code: str | None) -> None:
    """Print the page of a diagnostic CODE, or the list of all codes with their severity."""
    if code is None:
        for known in pages.codes():
            click.echo(f"{known}  {pages.severity(known) or '':<7}  {pages.title(known)}")
        return
    page = pages.page(code.upper())
    if page is None:
        near = nearest(code, [known.lower() for known in pages.codes()])
        fail(f"there is no diagnostic {code}" + (f"; did you mean {near.upper()}?" if near else ""))
    click.echo(page)


COMMANDS: tuple[click.Command, ...] = (explain,)
