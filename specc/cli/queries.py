"""The commands that ask the database: runs, compare, sql, sync."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.show import PlainError

if TYPE_CHECKING:
    from specc.store.sync import SyncReport

_UNBOUNDED = 100_000
STATES = ("running", "finished", "failed", "interrupted")
_PATIENCE_SECONDS = 1.0
FORMATS = ("table", "csv", "json", "markdown")


def _runs_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--runs",
        "runs_dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("runs"),
        envvar="SPECC_RUNS",
        show_default=True,
        help="Directory of the runs, and of their database.",
    )(command)


def _format_option(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--format", "form", type=click.Choice(names), default="table", help="Form of the answer.")


@click.command("runs")
@click.argument("addresses", nargs=-1, metavar="[EXPERIMENT|RUN|ID|@latest]...")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only runs in this state.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many, the latest.")
@_format_option(*FORMATS)
@_runs_option
def runs(addresses: tuple[str, ...], states: tuple[str, ...], limit: int | None, form: str, runs_dir: Path) -> None:
    """List runs, the latest first."""
    with _Answering(runs_dir) as database:
        from specc.store import queries, runs_text
        from specc.store.database import open_for_reading
        from specc.store.formats import format_rows

        with open_for_reading(database) as connection:
            found = queries.choose(queries.list_runs(connection), addresses)
        found = tuple(run for run in found if not states or run.state in states)[:limit]
        if form == "table":
            _print_lines(runs_text.render(found, _width()))
            return
        columns = queries.RECORD_FIELDS
        records = [queries.run_record(run) for run in found]
        click.echo(format_rows(columns, [[record[name] for name in columns] for record in records], form, _width()))


@click.command("compare")
@click.argument("addresses", nargs=-1, required=True, metavar="A B [C ...]")
@_format_option("table", "json", "markdown")
@_runs_option
def compare(addresses: tuple[str, ...], form: str, runs_dir: Path) -> None:
    """Say what differs between experiments or runs, and what came of it."""
    with _Answering(runs_dir) as database:
        from specc.store import compare as comparing
        from specc.store import compare_text
        from specc.store.database import open_for_reading
        from specc.store.formats import to_json

        with open_for_reading(database) as connection:
            found = comparing.compare(connection, addresses)
        if form == "json":
            click.echo(to_json(comparing.comparison_record(found)))
        elif form == "markdown":
            click.echo(compare_text.to_markdown(found))
        else:
            _print_lines(compare_text.render(found, _width()))


@click.command("sql")
@click.argument("query", required=False)
@click.option("--timeout", type=click.FloatRange(min=0.1), default=300.0, show_default=True, help="Seconds to wait.")
@_format_option(*FORMATS)
@_runs_option
def sql(query: str | None, timeout: float, form: str, runs_dir: Path) -> None:
    """Answer one SQL question, read-only; `-` reads it from the standard input, none at all lists the tables."""
    with _Answering(runs_dir) as database:
        from specc.store import sql as asking
        from specc.store.formats import format_rows

        if query is None:
            found = asking.tables(database)
        else:
            text = sys.stdin.read() if query == "-" else query
            found = asking.query(database, text, timeout_seconds=timeout)
        click.echo(format_rows(found.columns, found.rows, form, _width(unbounded=True)))


@click.command("sync")
@_runs_option
def sync(runs_dir: Path) -> None:
    """Load new events into the database; other query commands do it by themselves."""
    from specc.store.database import StoreError
    from specc.store.sync import sync as load

    try:
        report = load(runs_dir)
    except StoreError as error:
        raise PlainError(str(error)) from None
    _warn(report)
    made = "made anew: " if report.rebuilt else ""
    click.echo(
        f"{made}{report.rows:,} rows of {report.runs} runs and {report.plans} plans in {report.seconds:.1f} s"
        + (f"; {report.replaced:,} rows gave way to later attempts" if report.replaced else "")
    )


class _Answering:
    """Brings the database up to date on entry; on exit turns a mistake of the user into one line."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir

    def __enter__(self) -> Path:
        from specc.store.database import FILE, DatabaseLockedError, StoreError
        from specc.store.sync import sync as load

        database = self.runs_dir / FILE
        try:
            _warn(load(self.runs_dir, wait_seconds=_PATIENCE_SECONDS))
        except DatabaseLockedError as error:
            # Another reader excludes a writer but not us: what the database held before is still an answer.
            click.echo(f"warning: not up to date: {error}", err=True)
        except StoreError as error:
            raise PlainError(str(error)) from None
        return database

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from specc.store.database import StoreError

        if isinstance(error, StoreError):
            raise PlainError(str(error)) from None


def _warn(report: SyncReport) -> None:
    for problem in report.problems:
        click.echo(f"warning: {problem}", err=True)


def _width(*, unbounded: bool = False) -> int:
    """Columns of the terminal; where there is none, a table may be `unbounded`: a file loses nothing to a margin."""
    from rich.console import Console

    if unbounded and not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return _UNBOUNDED
    return Console().width


def _print_lines(lines: list[Any]) -> None:
    """Colours only on a terminal, and not under NO_COLOR; rich sees to both."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for line in lines:
        console.print(line, soft_wrap=True)


COMMANDS: tuple[click.Command, ...] = (runs, compare, sql, sync)
