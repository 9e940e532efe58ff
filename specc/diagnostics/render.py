"""Diagnostics as text: full (with the lines they are about), concise, JSON, and GitHub's annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import groupby

from click import style

from specc.diagnostics.diagnostic import Diagnostic, Label

FORMATS = ("full", "concise", "json", "github")
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def render(diagnostics: tuple[Diagnostic, ...], texts: Mapping[str, str], form: str, *, colour: bool = False) -> str:
    """All diagnostics in one format; `texts` are the files that they quote, by name. Empty for none."""
    if form == "json":
        return json.dumps([asdict(diagnostic) for diagnostic in diagnostics], indent=2, ensure_ascii=False)
    if form == "full":
        return "\n\n".join(_full(diagnostic, texts, colour=colour) for diagnostic in diagnostics)
    one_line: Callable[[Diagnostic], str] = _concise if form == "concise" else _github
    return "\n".join(one_line(diagnostic) for diagnostic in diagnostics)


def summary(diagnostics: tuple[Diagnostic, ...]) -> str:
    """Such as `2 errors, 1 warning`."""
    counts = [(kind, sum(d.severity == kind for d in diagnostics)) for kind in ("error", "warning", "note")]
    fixable = sum(d.fix is not None and d.fix.safe for d in diagnostics)
    words = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts if count]
    return ", ".join([*words, *([f"{fixable} fixable with --fix"] if fixable else [])])


def _concise(diagnostic: Diagnostic) -> str:
    return f"{_location(diagnostic)}: {diagnostic.severity}[{diagnostic.code}]: {diagnostic.headline}"


def _github(diagnostic: Diagnostic) -> str:
    level = {"error": "error", "warning": "warning", "note": "notice"}[diagnostic.severity]
    place, label = "", diagnostic.primary
    if label is not None:
        place = f" file={label.span.file},line={label.span.line},col={label.span.column},"
    text = diagnostic.headline if diagnostic.help is None else f"{diagnostic.headline}; {diagnostic.help}"
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level}{place or ' '}title={diagnostic.code}::{escaped}"


def _location(diagnostic: Diagnostic) -> str:
    label = diagnostic.primary
    return "spec" if label is None else f"{label.span.file}:{label.span.line}:{label.span.column}"


def _full(diagnostic: Diagnostic, texts: Mapping[str, str], *, colour: bool) -> str:
    paint = _painter(diagnostic.severity, colour=colour)
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]") + f": {diagnostic.headline}"
    ordered = sorted(diagnostic.labels, key=lambda label: (not label.primary, label.span))
    first = diagnostic.primary.span.file if diagnostic.primary else ""
    by_file = {file: list(labels) for file, labels in groupby(ordered, key=lambda label: label.span.file)}
    for label in ordered:
        if label not in by_file[label.span.file]:
            by_file[label.span.file].append(label)
    width = max((len(str(label.span.line)) for label in ordered), default=1)
    gutter = " " * width
    lines = [head]
    for file, labels in by_file.items():
        arrow = f"{gutter[:-1] if file == first else gutter}{' -->' if file == first else ':::'}"
        lead = next((label for label in labels if label.primary), labels[0]).span
        lines.append(f"{arrow} {file}:{lead.line}:{lead.column}")
        lines += _excerpt(labels, texts.get(file, ""), width, paint)
    if diagnostic.notes or diagnostic.help:
        lines.append(f"{gutter} |")
    lines += [f"{gutter} = note: {note}" for note in diagnostic.notes]
    lines += [f"{gutter} = help: {diagnostic.help}"] if diagnostic.help else []
    return "\n".join(lines)


def _excerpt(labels: list[Label], text: str, width: int, paint: Callable[[str], str]) -> list[str]:
    source = text.splitlines()
    lines = [f"{' ' * width} |"]
    before = None
    for number, group in groupby(sorted(labels, key=lambda label: label.span), key=lambda label: label.span.line):
        if before is not None and number > before + 1:
            lines.append("...")
        before = number
        quoted = source[number - 1].replace("\t", " ") if number <= len(source) else ""
        lines.append(f"{number:>{width}} | {quoted}".rstrip())
        lines += [f"{' ' * width} | {row}" for row in _underlines(list(group), quoted, paint)]
    return lines


def _underlines(labels: list[Label], quoted: str, paint: Callable[[str], str]) -> list[str]:
    """One row of marks with the text of the last one, then a row for each other text, from right to left."""
    marks = [" "] * (len(quoted) + 2)
    for label in labels:
        start, end = label.span.column - 1, _end_column(label, quoted)
        for column in range(start, min(end, len(marks))):
            marks[column] = "^" if label.primary else "-"
    row = "".join(marks).rstrip()
    last = labels[-1]
    rows = [paint(row) + (f" {paint(last.text)}" if last.text else "")]
    rows += [" " * (label.span.column - 1) + label.text for label in reversed(labels[:-1]) if label.text]
    return rows


def _end_column(label: Label, quoted: str) -> int:
    span = label.span
    end = span.end_column - 1 if span.end_line == span.line else len(quoted)
    return max(end, span.column)


def _painter(severity: str, *, colour: bool) -> Callable[[str], str]:
    if not colour:
        return lambda text: text
    return lambda text: style(text, fg=_COLOURS[severity], bold=True)
