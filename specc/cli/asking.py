"""The commands that answer questions about specs: why, diff."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

from specc import driver
from specc.cli import show
from specc.cli.compiling import SETS, SPEC, fail


@click.command()
@SPEC
@click.argument("path", required=False)
@SETS
@click.option("--json", "as_json", is_flag=True, help="Documented keys, for other programs.")
def why(spec: Path, path: str | None, sets: tuple[str, ...], as_json: bool) -> None:
    """Say where the value at PATH of SPEC comes from; without PATH list every value and its origin."""
    from specc.questions import why_text
    from specc.questions.why import answers, below, near

    outcome = driver.check(spec, sets)
    if outcome.source is None or outcome.spec is None:
        show.diagnostics(outcome, "full")
        sys.exit(1)
    known = answers(outcome.source, outcome.spec, outcome.plan)
    if outcome.plan is None:
        click.echo("warning: the spec has errors (`specc check`): nothing can be derived from it", err=True)
    found = known if path is None else below(known, path)
    if path is not None and not found:
        meant = [f"`{other}`" for other in near(known, path)]
        fail(f"there is no value `{path}`" + (f"; did you mean {' or '.join(meant)}?" if meant else ""))
    if as_json:
        records = [why_text.to_record(answer) for answer in found]
        click.echo(json.dumps(records[0] if len(records) == 1 and path else records, indent=2, ensure_ascii=False))
    elif len(found) == 1 and path is not None:
        click.echo(why_text.render(found[0], known, outcome.texts))
    else:
        click.echo(why_text.render_table(found, shutil.get_terminal_size().columns))


COMMANDS: tuple[click.Command, ...] = (why,)
