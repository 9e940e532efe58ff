"""Short, stable names of variants: what overrides and sweeps change, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from hashlib import sha256

from specc.source.tree import Mapping, Node, Scalar
from specc.source.tree import Sequence as Items

_LONGEST = 60
# A sweep of several paths says all of them; with the longest name before it, a folder stays below 255 characters.
_LONGEST_SWEPT = 100
_CUT_DIGITS = 12
_DIGITS = 8
# A number with its unit reads well without the blank, and no other value is written so.
_QUANTITY = re.compile(r"([0-9.eE+-]+[KMGTBi]*) ([A-Za-z]+)")

Set = tuple[str, Node]
"""A swept path and the value that a variant has there."""


def variant(overrides: tuple[str, ...], paths: tuple[str, ...]) -> str:
    """Such as `rope`, `learning_rate=1e-3` or `~validation`; the order of overrides plays no part.

    A kind is named by itself, anything else by the shortest end of its path that no other of the spec's `paths` has.
    """
    words = []
    for override in sorted(overrides):
        if override.startswith("~"):
            # What is deleted may be a section, which no path ends at.
            words.append("~" + _safe(_shortest_end(override[1:].split("."), _sections(paths))))
            continue
        path, _, text = override.partition("=")
        parts = path.split(".")
        if parts[-1] == "kind" and len(parts) > 1:
            words.append(_safe(_of_kind(parts[:-1], text, paths)))
        else:
            words.append(_safe(f"{_shortest_end(parts, paths)}={text}"))
    return _cut("+".join(words), _LONGEST)


def labels(points: Sequence[Sequence[Set]], root: Mapping) -> list[str]:
    """One label for each variant of a sweep over a spec's tree, which says the value of every swept path.

    A label depends on the tree, the paths and the variant's own values: neither another value in a list nor the order
    of keys changes it. Values that no safe text tells apart carry a digest.
    """
    paths = tuple(dict.fromkeys([*_leaves(root), *(path for path, _ in (points[0] if points else ()))]))

    @cache
    def end(path: str) -> str:
        return _telling_end(path.split("."), paths)

    @cache
    def prefix(path: str) -> str:
        return _of_kind(path.split("."), "", paths)

    words: dict[tuple[str, int], str] = {}
    found = []
    for values in points:
        ordered = sorted(values, key=lambda value: value[0])
        for path, node in ordered:
            if (path, id(node)) not in words:
                words[path, id(node)] = _word(path, node, end(path), prefix(path.removesuffix(".kind")))
        found.append(_cut("+".join(words[path, id(node)] for path, node in ordered), _LONGEST_SWEPT))
    # Folders of some systems do not tell letters by their case.
    times = Counter(label.casefold() for label in found)
    return [
        label if times[label.casefold()] == 1 else f"{label[: _LONGEST_SWEPT - _DIGITS - 1]}-{_digest(values)}"
        for label, values in zip(found, points, strict=True)
    ]


def _word(path: str, node: Node, end: str, prefix: str) -> str:
    """A kind by itself, with the other keys that a mapping writes; anything else with the end of its path."""
    text = _text(node)
    is_kind = path.endswith(".kind") if isinstance(node, Scalar) else isinstance(node, Mapping) and _kind(node)
    word = f"{prefix}{text}" if is_kind else f"{end}={text}"
    safe = _safe(_short(word))
    return safe if _is_exact(node) else f"{safe[:_LONGEST]}-{_digest([(path, node)])}"


def _is_exact(node: Node, apart: str = "") -> bool:
    """Whether no other value has the same safe text; `apart` are the marks that stand between parts."""
    if isinstance(node, Scalar):
        text = _short(node.text)
        return text == _safe(text) and not any(mark in text for mark in apart)
    if isinstance(node, Items):
        return all(isinstance(item, Scalar) and _is_exact(item, "_") for item in node.items)
    values = (entry.node for entry in node.entries.values())
    return all(isinstance(value, Scalar) and _is_exact(value, "=") for value in values)


def _short(text: str) -> str:
    """Quantities without their blank, and percent in letters."""
    return _QUANTITY.sub(r"\1\2", text).replace("%", "pct")


def _text(node: Node) -> str:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Items):
        return "_".join(_text(item) for item in node.items)
    kind = _kind(node)
    others = [f"{key}={_text(entry.node)}" for key, entry in sorted(node.entries.items()) if key != "kind" or not kind]
    return "-".join([kind, *others] if kind else others)


def _kind(node: Mapping) -> str:
    kind = node.scalar("kind")
    return kind if isinstance(kind, str) else ""


def _digest(values: Sequence[Set]) -> str:
    """Of the values as they are written; a number and the same digits in quotes are two values."""
    plain = [(path, _canonical(node)) for path, node in sorted(values, key=lambda value: value[0])]
    return sha256(repr(plain).encode("utf-8", "backslashreplace")).hexdigest()[:_DIGITS]


def _canonical(node: Node) -> object:
    if isinstance(node, Scalar):
        return (type(node.value).__name__, node.text)
    if isinstance(node, Items):
        return [_canonical(item) for item in node.items]
    return {key: _canonical(entry.node) for key, entry in sorted(node.entries.items())}


def _leaves(node: Node, path: str = "") -> Iterator[str]:
    """Dotted paths of all values of a tree."""
    if isinstance(node, Scalar):
        yield path
    elif isinstance(node, Items):
        for index, item in enumerate(node.items):
            yield from _leaves(item, f"{path}.{index}")
    else:
        for key, entry in node.entries.items():
            yield from _leaves(entry.node, f"{path}.{key}" if path else key)


def _of_kind(section: list[str], kind: str, paths: tuple[str, ...]) -> str:
    """A kind by itself where no other section has that end, else with the end of its section."""
    parents = {other.rpartition(".")[0] for other in paths if other.endswith(".kind")}
    end = _shortest_end(section, tuple(parents))
    return kind if "." not in end else f"{end}={kind}"


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() or c in "=._+-" else "_" for c in text)


def _cut(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    return f"{name[: longest - _CUT_DIGITS - 1]}-{sha256(name.encode()).hexdigest()[:_CUT_DIGITS]}"


def _telling_end(parts: list[str], paths: tuple[str, ...]) -> str:
    """The shortest end that does not begin with the index of an item."""
    end = _shortest_end(parts, paths)
    start = len(parts) - len(end.split("."))
    while start and parts[start].isdecimal():
        start -= 1
    return ".".join(parts[start:])


def _sections(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Paths and all that lies above them."""
    parts = [path.split(".") for path in paths]
    return tuple({".".join(path[:length]) for path in parts for length in range(1, len(path) + 1)})


def _shortest_end(parts: list[str], paths: tuple[str, ...]) -> str:
    whole = ".".join(parts)
    for start in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[start:])
        if all(path == whole or not path.endswith(f".{end}") for path in paths):
            return end
    return whole
