"""A tree as it would be once its fixes were applied, every value where it was written: to look beyond mistakes."""

from __future__ import annotations

from dataclasses import replace

from specc.diagnostics import Change, Diagnostic
from specc.diagnostics.diagnostic import Path
from specc.source.scalars import resolve
from specc.source.source import Source
from specc.source.tree import Entry, Mapping, Node, Scalar, Sequence


def mended(source: Source, diagnostics: tuple[Diagnostic, ...]) -> Source | None:
    """The source without these mistakes; None where one of them is no slip of the spec itself that has a safe fix."""
    changes: list[Change] = []
    for diagnostic in diagnostics:
        fix = diagnostic.fix
        if fix is None or not fix.safe or any(edit.span.file != source.file for edit in fix.edits):
            return None
        changes += fix.changes
    if any(change.act not in ("replace", "rename") for change in changes):
        return None
    root = source.root
    # The deepest first: a path names keys as they are written.
    for change in sorted(changes, key=lambda change: (-len(change.path), change.act == "rename")):
        changed = _changed(root, change.path, change)
        if not isinstance(changed, Mapping):
            return None
        root = changed
    return replace(source, root=root, written=None)


def _changed(node: Node, path: Path, change: Change) -> Node | None:
    """The node with one change below it; None where nothing stands at the path."""
    if not path:
        span = node.span
        return Scalar(resolve(change.text), change.text, span) if change.act == "replace" else None
    first, rest = path[0], path[1:]
    if isinstance(node, Sequence) and isinstance(first, int) and first < len(node.items):
        item = _changed(node.items[first], rest, change)
        return None if item is None else replace(node, items=(*node.items[:first], item, *node.items[first + 1 :]))
    if not isinstance(node, Mapping) or first not in node.entries:
        return None
    entry = node.entries[str(first)]
    if not rest and change.act == "rename":
        renamed = {change.text if key == first else key: value for key, value in node.entries.items()}
        return replace(node, entries=renamed)
    below = _changed(entry.node, rest, change)
    if below is None:
        return None
    return replace(node, entries={**node.entries, str(first): Entry(entry.key, below)})
