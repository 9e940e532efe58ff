"""The tree of a spec: scalars, mappings and sequences with their spans."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from typing import Any

from specc.diagnostics import Span
from specc.source.scalars import Value


@dataclass(frozen=True)
class Scalar:
    """One value; `text` is what was written."""

    value: Value
    text: str
    span: Span
    replaced: Node | None = field(default=None, compare=False, repr=False)
    """What stood here in a preset, or before an override; itself with what it replaced."""


@dataclass(frozen=True)
class Entry:
    """A key and what it holds."""

    key: Span
    node: Node


@dataclass(frozen=True)
class Mapping:
    """Keys in the order in which they were written."""

    entries: ReadOnly[str, Entry]
    span: Span
    replaced: Node | None = field(default=None, compare=False, repr=False)

    def scalar(self, key: str) -> Value:
        """The scalar value under a key; None when there is none."""
        entry = self.entries.get(key)
        return entry.node.value if entry is not None and isinstance(entry.node, Scalar) else None


@dataclass(frozen=True)
class Sequence:
    """Items in order."""

    items: tuple[Node, ...]
    span: Span
    replaced: Node | None = field(default=None, compare=False, repr=False)


Node = Scalar | Mapping | Sequence


def to_data(node: Node) -> Any:
    """The tree as plain dicts, tuples and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return tuple(to_data(item) for item in node.items)
    return {key: to_data(entry.node) for key, entry in node.entries.items()}


def child(node: Node, part: str | int) -> Node | None:
    """What stands under a key or an index; None when nothing does."""
    if isinstance(node, Mapping) and isinstance(part, str):
        entry = node.entries.get(part)
        return None if entry is None else entry.node
    if isinstance(node, Sequence) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None
