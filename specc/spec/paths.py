"""The paths of a spec that may be set, and the words that they take: what a shell offers after `--set`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from specc.diagnostics import Span
from specc.source import SpecErrors, read
from specc.source.tree import Mapping, Node, Sequence, child
from specc.spec import language

_EMPTY = Mapping({}, Span("", 1, 1, 1, 1))


def stages(file: Path | None) -> tuple[str, ...]:
    """Names of the stages of a spec; none where it cannot be read."""
    found = child(_root(file), "stages")
    return tuple(found.entries) if isinstance(found, Mapping) else ()


def paths(file: Path | None) -> dict[str, str]:
    """Every key that has a value, or may have one, in a spec, with its meaning."""
    root = _root(file)
    found: dict[str, str] = {}
    _collect(root, root, (), found)
    return found


def values(file: Path | None, path: str) -> tuple[str, ...]:
    """The words that the key at a path takes; none where it takes any text or number."""
    root = _root(file)
    *above, key = (int(part) if part.isdigit() else part for part in path.split("."))
    if key == "kind":
        return tuple(language.kinds(tuple(above), root))
    words: list[str] = []
    for option in language.options((*above, key), root):
        if get_origin(option) is Literal:
            words += [str(word) for word in get_args(option)]
        elif option is bool:
            words += ["true", "false"]
    return tuple(words)


def _root(file: Path | None) -> Mapping:
    try:
        return read(file).root if file is not None else _EMPTY
    except SpecErrors:
        return _EMPTY


def _collect(node: Node | None, root: Mapping, path: tuple[str | int, ...], found: dict[str, str]) -> None:
    keys: list[Any] = list(language.keys(path, root))
    if isinstance(node, Mapping):
        keys += [key for key in node.entries if key not in keys]
    elif isinstance(node, Sequence):
        keys += range(len(node.items))
    for key in keys:
        below = child(node, key) if node is not None else None
        inner = (*path, key)
        before = len(found)
        _collect(below, root, inner, found)
        if len(found) == before:
            found[".".join(str(part) for part in inner)] = language.describe(inner, root) or ""
