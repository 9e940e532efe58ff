"""The commands that answer questions about specs: why, diff."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

from specc import driver, ir
from specc.cli import show
from specc.cli.arguments import SETS, SPEC, VARIANT
from specc.cli.compiling import STALE, fail


@click.command()
@SPEC
@click.argument("path", required=False)
@SETS
@VARIANT
@click.option("--json", "as_json", is_flag=True, help="Documented keys, for other programs.")
def why(spec: Path, path: str | None, sets: tuple[str, ...], variant: str | None, as_json: bool) -> None:
    """Say where the value at PATH of SPEC comes from; without PATH list every value and its origin."""
    from specc.questions import why_text
    from specc.questions.why import answers, below, near

    outcome = driver.check(spec, sets, driver.Wishes(variant=variant))
    if outcome.source is None or outcome.spec is None:
        show.diagnostics(outcome, "full")
        sys.exit(1)
    if len(outcome.variants) > 1:
        fail(f"{spec} is a sweep of {len(outcome.variants):,} variants: choose one with --variant")
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
        click.echo(why_text.render(found[0], known, outcome.texts, shutil.get_terminal_size().columns))
    else:
        click.echo(why_text.render_table(found, shutil.get_terminal_size().columns))


class _Sided(click.Command):
    """`--set` belongs to the spec that it follows; before or without a second spec, to the one that is compared."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Words in their order, each `--set` under the side that it is for."""
        words = 0
        sided: list[str] = []
        rest = iter(args)
        for word in rest:
            name, equals, _ = word.partition("=")
            if name == "--set":
                sided += ["--set-of", str(words), word.partition("=")[2] if equals else next(rest, "")]
                continue
            sided.append(word)
            if name == "--format" and not equals:
                sided.append(next(rest, ""))
            words += not word.startswith("-")
        return super().parse_args(ctx, sided)


@click.command(cls=_Sided)
@click.argument("specs", nargs=-1, required=True, metavar="A [--set PATH=VALUE]... [B [--set PATH=VALUE]...]")
@click.option("--set-of", "sets", type=(int, str), multiple=True, hidden=True)
@click.option("--format", "form", type=click.Choice(("table", "json", "markdown")), default="table")
@click.option("--exit-code", is_flag=True, help="Exit code 3 when the specs differ.")
def diff(specs: tuple[str, ...], sets: tuple[tuple[int, str], ...], form: str, exit_code: bool) -> None:
    """Say what differs between A and B, which stages run again, and whether a running job may resume.

    A and B are specs, generated folders, run directories, or REVISION:PATH of git. Each --set changes the spec that it
    follows; with one spec alone, that spec is compared with itself plus every --set.
    """
    from specc.questions import difference_text
    from specc.questions.difference import difference

    if len(specs) > 2:
        raise click.UsageError("diff compares two specs")
    own = tuple(text for side, text in sets if side <= 1) if len(specs) == 2 else ()
    changed = tuple(text for side, text in sets if side == 2 or len(specs) == 1)
    found = difference(_planned(specs[0], own), _planned(specs[-1], changed))
    if form == "json":
        click.echo(json.dumps(difference_text.to_record(found), indent=2, ensure_ascii=False))
    elif form == "markdown":
        click.echo(difference_text.to_markdown(found))
    else:
        click.echo(difference_text.render(found, shutil.get_terminal_size().columns))
    sys.exit(STALE if exit_code and found.differs else 0)


def _planned(address: str, sets: tuple[str, ...]) -> ir.Plan:
    """The plan of the spec at an address; a spec with errors ends the command with them."""
    from specc.questions.addresses import NoSpecError, found

    try:
        with found(address) as path:
            outcome = driver.check(path, sets)
    except NoSpecError as error:
        fail(str(error))
    if len(outcome.plans) > 1:
        fail(f"{address} is a sweep of {len(outcome.plans):,} variants: compare it without, by --set ~sweep")
    if outcome.plan is None:
        show.diagnostics(outcome, "full")
        sys.exit(1)
    return outcome.plan


COMMANDS: tuple[click.Command, ...] = (why, diff)
