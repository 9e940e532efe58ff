"""A comparison as lines for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text

from specc.settings_diff import MEANINGS, Present, SettingRow, gist
from specc.store import formats, numbers
from specc.store.compare import Cell, Comparison, PredictionRow, ResultRow, Side

_HEAD, _DIM, _GOOD, _MARK = "bold", "dim", "bold green", "yellow"


def render(comparison: Comparison, width: int) -> list[Text]:
    """All lines, none wider than `width` cells."""
    parts = [
        list(_side_lines(comparison.sides, width)),
        list(_setting_lines(comparison, width)),
        list(_result_lines(comparison, width)),
        list(_prediction_lines(comparison, width)),
    ]
    lines: list[Text] = []
    for part in parts:
        lines += ([Text("")] if lines and part else []) + part
    return [_cut(line, width) for line in lines]


def to_markdown(comparison: Comparison) -> str:
    """The same tables in Markdown, with a section each."""
    labels = [f"{side.label}: {side.selection.address}" for side in comparison.sides]
    parts = [*comparison.notes]
    if comparison.settings:
        rows = [
            [row.path, row.effect, *(setting_text(value, row.leaves) for value in row.values)]
            for row in comparison.settings
        ]
        parts += ["## In the specs", formats.to_markdown(["setting", "effect", *labels], rows)]
    if comparison.results:
        texts = [_result_text(row, len(labels)) for row in comparison.results]
        two = ["B - A"] if len(labels) == 2 else []
        cells = [
            [row.section, row.label, *(" ".join(part for part in cell if part) for cell in row.cells)]
            + [f"{row.difference} {row.verdict}".strip() for _ in two]
            for row in texts
        ]
        legend = [line.plain.strip() for line in _legend(texts, 1 << 10)]
        parts += ["## What came of it", formats.to_markdown(["of", "", *labels, *two], cells), *legend]
    if comparison.predictions:
        said = [
            [row.stage, row.name, comparison.sides[row.side].label, numbers.quantity(row.name, row.predicted),
             numbers.quantity(row.name, row.measured), numbers.percent(row.relative_error)]
            for row in comparison.predictions
        ]  # fmt: skip
        columns = ["stage", "name", "of", "predicted", "measured", "error"]
        parts += ["## Plan and reality", formats.to_markdown(columns, said)]
    return "\n\n".join(parts)


def setting_text(present: Present | None, leaves: int) -> str:
    """A value of a settings row: itself, or the gist of a subtree."""
    return gist(present, leaves, numbers.setting)


def _side_lines(sides: tuple[Side, ...], width: int) -> Iterator[Text]:
    name_width = max(len(side.selection.address) for side in sides)
    for side in sides:
        head = f"{side.label}  {side.selection.address:<{name_width}}"
        runs = [
            f"{run.stage} {run.short_id}" + ("" if run.state == "finished" else f" ({run.state})")
            for run in side.selection.runs
        ]
        if not side.selection.whole:
            runs = [f"{run.experiment}, {text}" for run, text in zip(side.selection.runs, runs, strict=True)]
        facts = [f"identity {side.identity}" if side.identity else "no plan", *runs]
        yield from _flow(Text(head, _HEAD), facts, width)


def _flow(head: Text, facts: list[str], width: int) -> Iterator[Text]:
    """Facts behind a head, as many a line as fit, continued below the first."""
    indent = min(head.cell_len, width // 2)
    line, used = head.copy(), False
    for fact in facts:
        if used and line.cell_len + 2 + len(fact) > width:
            yield line
            line = Text(" " * indent)
        line.append("  " + fact)
        used = True
    yield line


# ------------------------------------------------------------------------------------------------------- settings


def _setting_lines(comparison: Comparison, width: int) -> Iterator[Text]:
    for note in comparison.notes:
        yield Text(note, _MARK)
    if comparison.notes:
        return
    if len(comparison.sides) == 1:
        return
    if not comparison.settings:
        yield Text("The specs are the same.", _HEAD)
        return
    texts = [[setting_text(value, row.leaves) for value in row.values] for row in comparison.settings]
    paths = [row.path for row in comparison.settings]
    sides = len(comparison.sides)
    path_width = min(max(len(path) for path in (*paths, "In the specs")) + 2, width // 2)
    room = (width - path_width) // sides - 2
    value_width = max(len(text) for row in [[""], *texts] for text in row if len(text) <= room)
    value_width = max(value_width, 1)
    header = Text(f"{'In the specs':<{path_width}}", _HEAD)
    for side in comparison.sides:
        header.append(f"  {side.label:<{value_width}}", _HEAD)
    yield _stripped(header)
    rows = zip(comparison.settings, texts, strict=True)
    for effect, members in groupby(rows, key=lambda member: member[0].effect):
        yield Text(f"{effect}: {MEANINGS[effect]}" if effect in MEANINGS else effect, _DIM)
        for row, values in members:
            yield from _setting_row(row, values, comparison.sides, (path_width, value_width, width))


def _setting_row(
    row: SettingRow, values: list[str], sides: tuple[Side, ...], widths: tuple[int, int, int]
) -> Iterator[Text]:
    """One line; values that do not fit into their columns stand below each other, in full."""
    path_width, value_width, width = widths
    if len(row.path) + 2 <= path_width and all(len(value) <= value_width for value in values):
        yield Text(
            f"  {row.path:<{path_width - 2}}" + "".join(f"  {value:<{value_width}}" for value in values).rstrip()
        )
        return
    yield Text(f"  {row.path}")
    for side, value in zip(sides, values, strict=True):
        room = max(8, width - 7)
        pieces = [value[start : start + room] for start in range(0, len(value), room)] or [""]
        yield Text(f"    {side.label}  {pieces[0]}")
        for piece in pieces[1:]:
            yield Text(f"       {piece}")


# -------------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class _ResultText:
    """A row of results, cut into the texts of its columns."""

    section: str
    label: str
    cells: tuple[tuple[str, str, str], ...]
    """(value, standard error or step, marks) by side."""
    best: int | None
    difference: str
    verdict: str


def _result_lines(comparison: Comparison, width: int) -> Iterator[Text]:
    count = len(comparison.sides)
    if not comparison.results:
        yield Text("Nothing was reported yet.")
        return
    rows = [_result_text(row, count) for row in comparison.results]
    label_width = max(len(row.label) for row in rows) + 2
    details = _detail_width(rows)
    extra = _difference_width(rows)
    for detail, chunk in ((details, count), (0, count), (0, _capacity(rows, label_width, 0, width))):
        if label_width + chunk * (_cell_width(rows, detail) + 2) + extra <= width:
            break
    others = list(range(1, count))
    for start in range(0, max(1, len(others)), max(1, chunk - 1)):
        shown = [0, *others[start : start + max(1, chunk - 1)]]
        if start:
            yield Text("")
        yield from _result_block(comparison, rows, shown, (label_width, detail))
    yield from _legend(rows, width)


def _result_text(row: ResultRow, count: int) -> _ResultText:
    steps = {cell.step for cell in row.cells if cell is not None}
    common = next(iter(steps)) if len(steps) == 1 else None
    label = row.name + (f", {row.which}" if row.which else "") + (f" @{common}" if common is not None else "")
    label += " (baseline)" if row.kind == "baseline" else ""
    places = _places(row)
    texts = [_cell_text(row, cell, places) for cell in row.cells]
    # A difference that the shown digits do not show is nothing to point at.
    best = row.best if [value for value, _ in texts].count(texts[row.best or 0][0]) == 1 else None
    cells = []
    for side, (cell, (value, detail)) in enumerate(zip(row.cells, texts, strict=True)):
        step = f"@{cell.step}" if cell is not None and common is None and cell.step is not None else ""
        marks = ("*" if side == best else "") + (_verdict(row, side) if count > 2 else "")
        cells.append((value, step or detail, marks))
    two = count == 2
    return _ResultText(
        row.section, label, tuple(cells), best, _difference(row, places) if two else "",
        _verdict(row, 1) if two else "",
    )  # fmt: skip


def _places(row: ResultRow) -> int | None:
    """Decimals of the row: two significant digits of its smallest standard error; None where there is none."""
    texts = [numbers.with_error(cell.value, cell.stderr) for cell in row.cells if cell is not None and cell.stderr]
    return max((len(error.partition(".")[2]) for _, error in texts if error), default=None)


def _cell_text(row: ResultRow, cell: Cell | None, places: int | None) -> tuple[str, str]:
    if cell is None:
        return "-", ""
    if row.unit == "metric" and places is not None:
        return f"{cell.value:.{places}f}", f"±{cell.stderr:.{places}f}" if cell.stderr else ""
    form = {"metric": numbers.decimals, "seconds": numbers.duration, "bytes": numbers.size}.get(row.unit, numbers.large)
    return form(cell.value), ""


def _difference(row: ResultRow, places: int | None) -> str:
    difference = row.difference(1)
    if difference is None or difference.value != difference.value:
        return ""
    if difference.value == 0:
        return "same"
    first = row.cells[0]
    if row.unit != "metric":
        return numbers.percent(difference.value / first.value if first and first.value else None)
    text = f"{difference.value:+.{4 if places is None else places}f}"
    return text if text.strip("+-0.") else text[1:]


def _verdict(row: ResultRow, side: int) -> str:
    difference = row.difference(side)
    if difference is None or difference.significant is None or row.kind == "baseline":
        return ""
    return "≠" if difference.significant else "≈"


def _result_block(
    comparison: Comparison, rows: list[_ResultText], shown: list[int], widths: tuple[int, int]
) -> Iterator[Text]:
    label_width, detail = widths
    value = _value_width(rows)
    tail = _cell_width(rows, detail) - value
    head = Text(f"{'What came of it':<{label_width}}", _HEAD)
    for side in shown:
        head.append("  " + f"{comparison.sides[side].label:>{value}}" + " " * tail, _HEAD)
    if _difference_width(rows):
        head.append(f"  {'B - A':>{_difference_width(rows) - 4}}", _HEAD)
    yield _stripped(head)
    for section, members in groupby(rows, key=lambda row: row.section):
        yield Text(section, _DIM)
        for row in members:
            yield _result_line(row, rows, shown, widths)


def _result_line(row: _ResultText, rows: list[_ResultText], shown: list[int], widths: tuple[int, int]) -> Text:
    label_width, detail_width = widths
    value_width, mark_width = _value_width(rows), _mark_width(rows)
    line = Text(f"  {row.label:<{label_width - 2}}")
    for side in shown:
        value, detail, marks = row.cells[side]
        text = f"  {value:>{value_width}}" + (f" {detail:<{detail_width}}" if detail_width else "")
        line.append(text, _GOOD if side == row.best else "")
        line.append(f" {marks:<{mark_width}}" if mark_width else "", _GOOD)
    if row.difference:
        line.append(f"  {row.difference:>{_difference_width(rows) - 4}}")
        line.append(f" {row.verdict}", _MARK)
    return _stripped(line)


def _legend(rows: list[_ResultText], width: int) -> Iterator[Text]:
    marks = "".join(marks + row.verdict for row in rows for _, _, marks in row.cells)
    words = [("*", "better"), ("≠", "beyond 1.96 standard errors"), ("≈", "within them")]
    if "≠" not in marks:
        words[2] = ("≈", "within 1.96 standard errors")
    facts = [f"{mark} {word}" for mark, word in words if mark in marks]
    if any(len(row.cells) > 2 for row in rows) and ("≠" in marks or "≈" in marks):
        facts[-1] += " of A"
    for line in _flow(Text(""), facts, width) if facts else ():
        line.stylize(_DIM)
        yield line


def _capacity(rows: list[_ResultText], label_width: int, detail: int, width: int) -> int:
    return max(2, (width - label_width) // (_cell_width(rows, detail) + 2))


def _value_width(rows: list[_ResultText]) -> int:
    return max(len(value) for row in rows for value, _, _ in row.cells)


def _detail_width(rows: list[_ResultText]) -> int:
    return max(len(detail) for row in rows for _, detail, _ in row.cells)


def _mark_width(rows: list[_ResultText]) -> int:
    return max(len(marks) for row in rows for _, _, marks in row.cells)


def _cell_width(rows: list[_ResultText], detail: int) -> int:
    marks = _mark_width(rows)
    return _value_width(rows) + (detail + 1 if detail else 0) + (marks + 1 if marks else 0)


def _difference_width(rows: list[_ResultText]) -> int:
    widest = max(len(row.difference) for row in rows)
    # Two before it, and a space and a verdict after it.
    return max(widest, 5) + 4 if widest else 0


# ---------------------------------------------------------------------------------------------------- predictions


def _prediction_lines(comparison: Comparison, width: int) -> Iterator[Text]:
    rows = comparison.predictions
    if not rows:
        return
    texts = [(numbers.quantity(row.name, row.predicted), numbers.quantity(row.name, row.measured)) for row in rows]
    name_width = min(max(len(row.name) for row in rows) + 2, width - 40)
    column = max(len(text) for pair in (*texts, ("predicted", "measured")) for text in pair)
    title = f"{'Plan and reality':<{max(name_width, 16)}}"
    yield Text(f"{title}     {'predicted':>{column}}  {'measured':>{column}}     error", _HEAD)
    pairs = zip(rows, texts, strict=True)
    for stage, members in groupby(pairs, key=lambda pair: pair[0].stage):
        yield Text(stage, _DIM)
        before = ""
        for row, (predicted, measured) in members:
            name = "" if row.name == before else row.name
            before = row.name
            yield _prediction_line(row, comparison.sides[row.side].label, name, (predicted, measured),
                                   (max(name_width, 16), column))  # fmt: skip


def _prediction_line(
    row: PredictionRow, label: str, name: str, texts: tuple[str, str], widths: tuple[int, int]
) -> Text:
    name_width, column = widths
    predicted, measured = texts
    error = numbers.percent(row.relative_error)
    return Text(f"  {name:<{name_width - 2}}  {label}  {predicted:>{column}}  {measured:>{column}}  {error:>8}")


def _cut(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    return line


def _stripped(line: Text) -> Text:
    line.rstrip()
    return line
