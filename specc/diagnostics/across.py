"""What several variants of a spec say, each thing once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specc.diagnostics.diagnostic import Diagnostic, Span

Place = tuple[str, str, tuple[Span, ...], str]


def across(found: Sequence[tuple[str, tuple[Diagnostic, ...]]], variants: int) -> tuple[Diagnostic, ...]:
    """Diagnostics by the name of their variant, put together: one a code and place, as the first variant says it.

    A note tells which variants have it, unless all of them say the same. `variants` counts also those that were not
    looked at.
    """
    groups: dict[Place, list[tuple[str, Diagnostic]]] = {}
    for name, diagnostics in found:
        for diagnostic in diagnostics:
            groups.setdefault(_place(diagnostic), []).append((name, diagnostic))
    return tuple(_once(group, len(found), variants) for group in groups.values())


def _place(diagnostic: Diagnostic) -> Place:
    # A note stands on one line without its labels, so what it says is all that tells it from another one.
    text = diagnostic.headline if not diagnostic.labels else ""
    return (diagnostic.code, diagnostic.severity, tuple(label.span for label in diagnostic.labels), text)


def _once(group: list[tuple[str, Diagnostic]], seen: int, variants: int) -> Diagnostic:
    (first, diagnostic), names = group[0], {name for name, _ in group}
    alike = all(other == diagnostic for _, other in group)
    if alike and len(names) == seen == variants:
        return diagnostic
    where = f"in {len(names):,} of {seen:,} variants, first {first}"
    where += f"; {variants - seen:,} more were not looked at" if seen < variants else ""
    numbers = "" if alike else "; the others have other numbers"
    return replace(diagnostic, notes=(*diagnostic.notes, f"{where}{numbers}"))
