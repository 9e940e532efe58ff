"""The table of runs as lines for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import TypeVar

from rich.cells import cell_len
from rich.text import Text

from specc.store import numbers
from specc.store.queries import Run

_STATES = {"finished": "green", "running": "cyan", "failed": "bold red", "interrupted": "yellow"}
T = TypeVar("T")
_SQUEEZED = ("experiment", "stage")
_READABLE, _SHORTEST = 16, 8


@dataclass(frozen=True)
class _Column:
    """A column, and what of it can go where the terminal is narrow."""

    name: str
    show: Callable[[Run], str]
    number: bool = True
    goes: int | None = None
    """Order in which columns are left out, None for one that stays."""


def render(runs: tuple[Run, ...], width: int) -> list[Text]:
    """A header and a line a run, none wider than `width` cells; columns that do not fit are left out."""
    if not runs:
        return [Text("no runs")]
    columns = _columns(runs)
    while _least(columns, runs) > width and any(column.goes is not None for column in columns):
        first = min((column for column in columns if column.goes is not None), key=lambda column: column.goes or 0)
        columns = [column for column in columns if column is not first]
    widths = _squeeze(columns, [_width(column, runs) for column in columns], width)
    header = "  ".join(_fit(column.name, each, column) for column, each in zip(columns, widths, strict=True))
    lines = [Text(header.rstrip(), "bold")]
    for run in runs:
        lines.append(_line(run, columns, widths))
        if run.error and run.error.strip():
            lines.append(Text(f"  {run.error.strip().splitlines()[0]}", "red"))
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _columns(runs: tuple[Run, ...]) -> list[_Column]:
    columns = [
        _Column("id", lambda run: run.short_id, number=False),
        _Column("experiment", lambda run: run.experiment, number=False),
        _Column("stage", lambda run: run.stage, number=False),
        _Column("state", lambda run: run.state, number=False),
        _Column("step", lambda run: _or_dash(run.step, str)),
        _Column("train", lambda run: _or_dash(run.train_loss, numbers.decimals), goes=4),
        _Column("valid", lambda run: _or_dash(run.validation_loss, numbers.decimals)),
        _evaluation_column(runs),
        _Column("tok/s", lambda run: _or_dash(run.tokens_per_second, numbers.large), goes=3),
        _Column("took", lambda run: _or_dash(run.wall_seconds, numbers.duration), goes=2),
        _Column("started", _started, number=False, goes=1),
    ]
    return [column for column in columns if any(column.show(run) != "-" for run in runs)]


def _evaluation_column(runs: tuple[Run, ...]) -> _Column:
    """Named by the metric where all runs are known by the same; else the metric stands in every cell."""
    metrics = {run.evaluation[0] for run in runs if run.evaluation}
    if len(metrics) == 1:
        name = "bits/B" if metrics == {"bits_per_byte"} else next(iter(metrics))
        return _Column(name, lambda run: numbers.decimals(run.evaluation[1]) if run.evaluation else "-")
    return _Column(
        "evaluation",
        lambda run: f"{run.evaluation[0]} {numbers.decimals(run.evaluation[1])}" if run.evaluation else "-",
        number=False,
    )


def _started(run: Run) -> str:
    """Local time, because it is read beside a clock."""
    return run.started.replace(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M") if run.started else "-"


def _or_dash(value: T | None, form: Callable[[T], str]) -> str:
    return "-" if value is None else form(value)


def _line(run: Run, columns: list[_Column], widths: list[int]) -> Text:
    line = Text()
    for column, width in zip(columns, widths, strict=True):
        style = _STATES.get(run.state, "") if column.name == "state" else ""
        line.append(_fit(column.show(run), width, column), style)
        line.append("  ")
    line.rstrip()
    return line


def _fit(text: str, width: int, column: _Column) -> str:
    if cell_len(text) > width:
        return text[: width - 1] + "…"
    padding = " " * (width - cell_len(text))
    return padding + text if column.number else text + padding


def _width(column: _Column, runs: tuple[Run, ...]) -> int:
    return max([cell_len(column.name), *(cell_len(column.show(run)) for run in runs)])


def _least(columns: list[_Column], runs: tuple[Run, ...]) -> int:
    """Width of a line whose names are cut as far as is still readable."""
    widths = [
        min(_width(column, runs), _READABLE) if column.name in _SQUEEZED else _width(column, runs) for column in columns
    ]
    return sum(widths) + 2 * (len(columns) - 1)


def _squeeze(columns: list[_Column], widths: list[int], width: int) -> list[int]:
    """Shorten names until the line fits."""
    found = list(widths)
    for name in _SQUEEZED:
        for place, column in enumerate(columns):
            if column.name == name:
                excess = sum(found) + 2 * (len(found) - 1) - width
                found[place] = min(found[place], max(_SHORTEST, found[place] - max(0, excess)))
    return found
