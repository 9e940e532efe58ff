"""Rows as text: a table for the terminal, CSV, JSON, Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size

FORMATS = ("table", "csv", "json", "markdown")
_WIDEST = 60
_READABLE = 8


def format_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], form: str, width: int) -> str:
    """Rows in one of FORMATS; only `table` cares about `width`."""
    if form == "csv":
        return to_csv(columns, rows)
    if form == "json":
        names = distinct(columns)
        return to_json([dict(zip(names, row, strict=True)) for row in rows])
    if form == "markdown":
        return to_markdown(columns, rows)
    return to_table(columns, rows, width)


def to_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """RFC 4180 with newlines; NULL is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if value is None else _exact(value) for value in row] for row in rows])
    return out.getvalue().removesuffix("\n")


def to_json(value: Any) -> str:
    """Strict JSON: NaN and infinities, which it has not, are the strings `NaN`, `Infinity`, `-Infinity`."""
    return json.dumps(_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)


def to_markdown(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A pipe table with numbers to the right."""
    right = _numeric(len(columns), rows)
    texts = [[_markdown_cell(_shown(value)) for value in row] for row in rows]
    rule = ["---:" if numeric else "---" for numeric in right]
    lines = [[_markdown_cell(name) for name in columns], rule, *texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> str:
    """Columns two apart, numbers to the right; columns that do not fit give up their width, the widest first.
    Where that would leave no column readable, each row becomes lines of name and value.

    A value of several lines, such as a query plan, is printed as it is when it is all there is in its row.
    """
    texts = [[_shown(value) for value in row] for row in rows]
    if any("\n" in text for row in texts for text in row) and len(columns) <= 2:
        return "\n".join(row[-1].rstrip("\n") for row in texts)
    texts = [[text.replace("\n", " ") for text in row] for row in texts]
    right = _numeric(len(columns), rows)
    widths = [max([cell_len(name), *(cell_len(row[place]) for row in texts)]) for place, name in enumerate(columns)]
    if sum(min(each, _READABLE) + 2 for each in widths) - 2 > width:
        return "\n\n".join(_record(columns, row, width) for row in texts)
    widths = _shrink([min(each, max(_WIDEST, width // 2)) for each in widths], width)
    lines = [_line(list(columns), widths, right), _line(["-" * each for each in widths], widths, right)]
    return "\n".join([*lines, *(_line(row, widths, right) for row in texts)])


def _record(columns: Sequence[str], texts: list[str], width: int) -> str:
    """One row as lines of name and value, for rows with more columns than the terminal has room for."""
    names = max(cell_len(name) for name in columns)
    room = max(1, width - names - 2)
    return "\n".join(
        f"{name}{' ' * (names - cell_len(name))}  {_fit(text, min(room, cell_len(text)), False)}"
        for name, text in zip(columns, texts, strict=True)
    )


def distinct(names: Sequence[str]) -> list[str]:
    """Names of columns, a repeated one with `_2`, `_3`, ... behind it."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _line(texts: list[str], widths: list[int], right: list[bool]) -> str:
    cells = [_fit(text, width, numeric) for text, width, numeric in zip(texts, widths, right, strict=True)]
    return "  ".join(cells).rstrip()


def _fit(text: str, width: int, numeric: bool) -> str:
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else "…"
    padding = " " * (width - cell_len(text))
    return padding + text if numeric else text + padding


def _shrink(widths: list[int], width: int) -> list[int]:
    """Take from the widest column until the row fits, but leave each at least three."""
    found = list(widths)
    while sum(found) + 2 * (len(found) - 1) > width and max(found) > 3:
        found[found.index(max(found))] -= 1
    return found


def _numeric(count: int, rows: Sequence[Sequence[Any]]) -> list[bool]:
    def column(place: int) -> bool:
        values = [row[place] for row in rows if row[place] is not None]
        return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)

    return [column(place) for place in range(count)]


def _shown(value: Any) -> str:
    """For people: floats with six significant digits."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(_jsonable(value))
    return _exact(value)


def _exact(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(" ", timespec="seconds" if not value.microsecond else "milliseconds")
    return to_json(value).replace("\n", "") if isinstance(value, dict | list) else str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat() + "Z" if value.tzinfo is None else value.isoformat()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _markdown_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
