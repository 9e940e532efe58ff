"""Flat settings as a tree."""

from __future__ import annotations

from typing import Any

from specc import ir


def nested(values: tuple[ir.Setting, ...]) -> dict[str, Any]:
    """Flat settings as a tree of plain values; lists come back where all keys are their indices."""
    tree: dict[str, Any] = {}
    for setting in values:
        *parts, last = setting.path.split(".")
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = list(setting.value) if isinstance(setting.value, tuple) else setting.value
    return {key: _lists(value) for key, value in tree.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    below = {key: _lists(item) for key, item in value.items()}
    if below and list(below) == [str(index) for index in range(len(below))]:
        return list(below.values())
    return below
