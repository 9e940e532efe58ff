"""A difference as text for a terminal, as Markdown, and as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap
from typing import Any

from specc.planning.text import count, duration, gib
from specc.questions.difference import Difference, Fact, StageVerdict
from specc.questions.why_text import spelt
from specc.settings_diff import MEANINGS, SettingRow, gist

_WHAT = {"data": "data set", "suites": "suite", "stages": "stage"}
Row = tuple[str, str, str]


def render(found: Difference, width: int) -> str:
    """Sections with a head each, `width` columns wide."""
    a, b = found.experiments
    lines = [f"A  {a}  identity {found.identities[0]}", f"B  {b}  identity {found.identities[1]}"]
    parts = [
        lines,
        list(_rename_lines(found)),
        list(_setting_lines(found, width)),
        list(_respelling_lines(found, width)),
        list(_stage_lines(found, width)),
        list(_fact_lines(found, width)),
    ]
    if not found.differs and not found.respellings:
        parts.insert(1, ["The specs say the same."])
    return "\n\n".join("\n".join(part) for part in parts if part)


def to_markdown(found: Difference) -> str:
    """The same with tables."""
    parts = [f"A: `{found.experiments[0]}`, B: `{found.experiments[1]}`"]
    parts += list(_rename_lines(found))
    if found.settings:
        values = [(row.path, row.effect, *_values(row)) for row in found.settings]
        parts.append("## Settings\n\n" + _table(("setting", "class", "A", "B"), values))
    if found.respellings:
        words = [(each.path, each.before, each.after) for each in found.respellings]
        parts.append("## Written differently, same meaning\n\n" + _table(("setting", "A", "B"), words))
    verdicts = [(verdict.name, _verdict(verdict)) for verdict in found.stages]
    parts.append("## Stages\n\n" + _table(("stage", "what becomes of it"), verdicts))
    if found.facts:
        rows = [(fact.stage, fact.name, *_numbers(fact)) for fact in found.facts]
        parts.append("## What follows\n\n" + _table(("stage", "fact", "A", "B"), rows))
    return "\n\n".join(parts)


def to_record(found: Difference) -> dict[str, Any]:
    """Plain values, for JSON."""
    return {
        "experiments": list(found.experiments),
        "identities": list(found.identities),
        "differs": found.differs,
        "renames": [vars(each) for each in found.renames],
        "settings": [
            {
                "path": row.path,
                "class": row.effect,
                "meaning": MEANINGS.get(row.effect),
                "before": None if row.values[0] is None else row.values[0].value,
                "after": None if row.values[1] is None else row.values[1].value,
            }
            for row in found.settings
        ],
        "written_differently": [vars(each) for each in found.respellings],
        "stages": [
            {
                "name": verdict.name,
                "state": verdict.state,
                "because": list(verdict.because),
                "resume": verdict.resume or "another_run",
                "over": list(verdict.over),
            }
            for verdict in found.stages
        ],
        "facts": [vars(fact) for fact in found.facts],
    }


def _rename_lines(found: Difference) -> Iterator[str]:
    for each in found.renames:
        yield f"{_WHAT[each.section]} `{each.before}` is now called `{each.after}`"


def _setting_lines(found: Difference, width: int) -> Iterator[str]:
    rows = [(row.effect, (row.path, *_values(row))) for row in found.settings]
    for index, (effect, members) in enumerate(groupby(rows, key=lambda row: row[0])):
        if index:
            yield ""
        yield f"{effect}: {MEANINGS[effect]}" if effect in MEANINGS else effect
        yield from _aligned([row for _, row in members], width)


def _respelling_lines(found: Difference, width: int) -> Iterator[str]:
    if found.respellings:
        yield "written differently, same meaning"
        yield from _aligned([(each.path, each.before, each.after) for each in found.respellings], width)


def _stage_lines(found: Difference, width: int) -> Iterator[str]:
    yield "stages"
    names = max(len(verdict.name) for verdict in found.stages)
    for verdict in found.stages:
        head = f"  {verdict.name:<{names}}  "
        yield from wrap(_verdict(verdict), width, initial_indent=head, subsequent_indent=" " * len(head))
    if found.experiments[0] != found.experiments[1] and any(v.state == "same" for v in found.stages):
        note = f"B has another name: `specc run` keeps its runs in a folder of their own, runs/{found.experiments[1]}"
        yield from wrap(note, width, initial_indent="  ", subsequent_indent="  ")


def _verdict(verdict: StageVerdict) -> str:
    if verdict.state in ("new", "gone"):
        return {"new": "only in B: it runs", "gone": "only in A: its runs stay"}[verdict.state]
    if verdict.state == "changed":
        because = ", ".join(verdict.because) or "what it reads or stands on"
        return f"runs again, in another run directory, because of {because}"
    told = {
        "exact": "stays; a running job resumes to the bit",
        "other_bits": "stays; a running job resumes with other bits, because of ",
        "same_files": "stays; a running job resumes to the bit if the same files are behind ",
        "refused": "stays; a running job does not resume, and `specc run` asks for --fresh, because of ",
    }
    return told[verdict.resume] + ", ".join(verdict.over)


def _fact_lines(found: Difference, width: int) -> Iterator[str]:
    if not found.facts:
        yield "parameters, FLOPs, memory, time and cost are the same"
        return
    yield "what follows"
    rows = [(f"{fact.stage}: {fact.name}" if fact.stage else fact.name, *_numbers(fact)) for fact in found.facts]
    yield from _aligned(rows, width)


def _aligned(rows: list[Row], width: int) -> Iterator[str]:
    """`path  before -> after` in columns; a row that is too wide for them takes three lines."""
    paths = max(len(row[0]) for row in rows)
    first = max((len(row[1]) for row in rows if paths + len(row[1]) + len(row[2]) + 8 <= width), default=0)
    for path, before, after in rows:
        line = f"  {path:<{paths}}  {before:<{first}} -> {after}"
        if len(line) <= width:
            yield line
            continue
        yield f"  {path}"
        for mark, text in (("A", before), ("B", after)):
            yield from wrap(text, width, initial_indent=f"    {mark}  ", subsequent_indent=" " * 7)


def _values(row: SettingRow) -> tuple[str, str]:
    one, other = (gist(value, row.leaves, spelt) for value in row.values)
    return one, other


def _numbers(fact: Fact) -> tuple[str, str]:
    one, other = (_number(value, fact.unit) for value in (fact.before, fact.after))
    if one == other:
        one, other = (_exact(value, fact.unit) for value in (fact.before, fact.after))
    return one, other


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit == "bytes":
        return gib(int(value))
    if unit == "s":
        return duration(value)
    if unit == "USD":
        return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"
    return f"{value:,}" if value < 10**6 else count(value) if value < 10**15 else f"{value:.3e}"


def _exact(value: float | None, unit: str) -> str:
    """With the digits that a short form left out."""
    if value is None:
        return "-"
    if unit == "USD":
        return f"${value:,.4f}"
    return f"{value:,.9g} s" if unit == "s" else f"{value:,}{' bytes' if unit == 'bytes' else ''}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
