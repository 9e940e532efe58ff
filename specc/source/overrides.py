"""`--set path=value`: each one is a virtual file of one line, so that errors point at it like at any other."""

from __future__ import annotations

from specc.diagnostics import Diagnostic, Label, Span
from specc.source.extends import KEY
from specc.source.reader import SpecErrors, parse_value
from specc.source.tree import Entry, Mapping, Node, Sequence


def file_of(override: str) -> str:
    """The name under which diagnostics quote an override; its text is `override` itself."""
    return f"--set {override}"


def apply(root: Mapping, override: str) -> Mapping:
    """The tree with one value set, made where it was missing; SpecErrors when the override is not `path=value`."""
    path, equals, text = override.partition("=")
    file = file_of(override)
    key = Span(file, 1, 1, 1, max(2, len(path) + 1))
    parts = path.split(".")
    if not equals or not all(parts):
        raise SpecErrors((_usage(override, key),))
    value = parse_value(text, file, len(path) + 1)
    set_root = _set(root, tuple(parts), Entry(key, value))
    assert isinstance(set_root, Mapping)
    return set_root


def sets_extends(override: str) -> bool:
    """Whether an override says what a section extends."""
    return override.partition("=")[0].split(".")[-1] == KEY


def _set(node: Node, parts: tuple[str, ...], entry: Entry) -> Node:
    first, rest = parts[0], parts[1:]
    if isinstance(node, Sequence) and first.isdigit() and int(first) < len(node.items):
        index = int(first)
        item = entry.node if not rest else _set(node.items[index], rest, entry)
        return Sequence((*node.items[:index], item, *node.items[index + 1 :]), node.span)
    entries = dict(node.entries) if isinstance(node, Mapping) else {}
    if not rest:
        entries[first] = entry
    else:
        old = entries.get(first)
        below = old.node if old is not None else Mapping({}, entry.key)
        entries[first] = Entry(old.key if old is not None else entry.key, _set(below, rest, entry))
    return Mapping(entries, node.span)


def _usage(override: str, span: Span) -> Diagnostic:
    return Diagnostic(
        "SPC010",
        "error",
        f"`{override}` does not say what to set",
        (Label(span, primary=True),),
        help="write a path, an equals sign and a value: `--set model.num_layers=12`",
    )
