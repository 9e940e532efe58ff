"""The table of what engines combine, for people."""

from __future__ import annotations

from specc.planning.combinations import ENGINES, FEATURES, KEYS, REFUSALS, Refusal, allows
from specc.planning.traits import trait


def as_markdown() -> str:
    """What each engine does alone, and every refusal with its reason; traits of models and training by their words."""
    lines = ["| feature | key | " + " | ".join(f"`{engine}`" for engine in ENGINES) + " |", "|" + " --- |" * 5]
    for name, words in FEATURES.items():
        cells = " | ".join("yes" if allows(engine, (name,)) else "no" for engine in ENGINES)
        lines.append(f"| {words} | `{KEYS[name]}` | {cells} |")
    lines += ["", "## What is refused", ""]
    lines += ["| engine | what | together with | why | source |", "|" + " --- |" * 5]
    lines += [_row(cell) for cell in sorted(REFUSALS, key=lambda cell: ENGINES.index(cell.engine))]
    return "\n".join((*lines, ""))


def _row(cell: Refusal) -> str:
    together = "" if cell.together is None else _words(cell.together)
    return f"| `{cell.engine}` | {_words(cell.feature)} | {together} | {cell.reason} | {cell.source} |"


def _words(name: str) -> str:
    known = trait(name)
    return known.words if known else FEATURES[name]
