"""Diagnostics as text: full (with the lines they are about), concise, JSON, and GitHub's annotations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import Any

from click import style

from specc.diagnostics.diagnostic import Diagnostic
from specc.diagnostics.excerpts import excerpt, plain

FORMATS = ("full", "concise", "json", "github")
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def render(diagnostics: tuple[Diagnostic, ...], texts: Mapping[str, str], form: str, *, colour: bool = False) -> str:
    """All diagnostics in one format; `texts` are the files that they quote, by name. Empty for none."""
    if form == "json":
        return json.dumps([_json(diagnostic) for diagnostic in diagnostics], indent=2, ensure_ascii=False)
    if form == "full":
        lines = {file: text.splitlines() for file, text in texts.items()}
        return "\n\n".join(_full(diagnostic, lines, colour=colour) for diagnostic in diagnostics)
    one_line: Callable[[Diagnostic], str] = _concise if form == "concise" else _github
    return "\n".join(one_line(diagnostic) for diagnostic in diagnostics)


def summary(diagnostics: tuple[Diagnostic, ...]) -> str:
    """Such as `2 errors, 1 warning`."""
    counts = [(kind, sum(d.severity == kind for d in diagnostics)) for kind in ("error", "warning", "note")]
    count_fixable = fixable(diagnostics)
    words = [f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in counts if count]
    return ", ".join([*words, *([f"{count_fixable} fixable with --fix"] if count_fixable else [])])


def fixable(diagnostics: tuple[Diagnostic, ...]) -> int:
    """How many safe fixes there are; two diagnostics that ask for the same edit have one."""
    return len({diagnostic.fix for diagnostic in diagnostics if diagnostic.fix is not None and diagnostic.fix.safe})


def _json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The documented keys (docs/diagnostics.md)."""
    fix = None
    if diagnostic.fix is not None:
        fix = {"safe": diagnostic.fix.safe, "edits": [asdict(edit) for edit in diagnostic.fix.edits]}
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "headline": diagnostic.headline,
        "labels": [asdict(label) for label in diagnostic.labels],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
        "fix": fix,
    }


def _concise(diagnostic: Diagnostic) -> str:
    return f"{_location(diagnostic)}: {diagnostic.severity}[{diagnostic.code}]: {plain(diagnostic.headline)}"


def _github(diagnostic: Diagnostic) -> str:
    """Workflow commands (docs.github.com, "Workflow commands for GitHub Actions"); an override lies in no file."""
    level = {"error": "error", "warning": "warning", "note": "notice"}[diagnostic.severity]
    label, properties = diagnostic.primary, {}
    if label is not None and not label.span.file.startswith("--set "):
        span = label.span
        properties = {"file": span.file, "line": str(span.line), "col": str(span.column)}
        if span.end_line == span.line:
            properties |= {"endLine": str(span.end_line), "endColumn": str(span.end_column)}
    properties["title"] = diagnostic.code
    told = ",".join(
        f"{key}={_escaped(value).replace(':', '%3A').replace(',', '%2C')}" for key, value in properties.items()
    )
    lines = [diagnostic.headline, *(f"note: {note}" for note in diagnostic.notes)]
    lines += [] if diagnostic.help is None else [f"help: {diagnostic.help}"]
    return f"::{level} {told}::{'%0A'.join(_escaped(line) for line in lines)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _location(diagnostic: Diagnostic) -> str:
    label = diagnostic.primary
    return "spec" if label is None else f"{plain(label.span.file)}:{label.span.line}:{label.span.column}"


def _full(diagnostic: Diagnostic, texts: Mapping[str, list[str]], *, colour: bool) -> str:
    paint = _painter(diagnostic.severity, colour=colour)
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]") + f": {plain(diagnostic.headline)}"
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
        lines.append(f"{arrow} {plain(file)}:{lead.line}:{lead.column}")
        lines += excerpt(labels, texts.get(file, []), width, paint)
    if diagnostic.notes or diagnostic.help:
        lines.append(f"{gutter} |")
    lines += [f"{gutter} = note: {plain(note)}" for note in diagnostic.notes]
    lines += [f"{gutter} = help: {plain(diagnostic.help)}"] if diagnostic.help else []
    return "\n".join(lines)


def _painter(severity: str, *, colour: bool) -> Callable[[str], str]:
    if not colour:
        return lambda text: text
    return lambda text: style(text, fg=_COLOURS[severity], bold=True)
