"""`--set path=value`: each one is a virtual file of one line, so that errors point at it like at any other."""

from __future__ import annotations

from dataclasses import replace

from specc.diagnostics import Diagnostic, Label, Span
from specc.diagnostics.near import nearest
from specc.source.extends import KEY, over
from specc.source.reader import SpecErrors, parse_value
from specc.source.tree import Entry, Mapping, Node, Sequence

DELETES = "~"
"""What an override begins with that deletes."""


def file_of(override: str) -> str:
    """The name under which diagnostics quote an override; its text is `override` itself."""
    return f"--set {override}"


def apply(root: Mapping, override: str) -> Mapping:
    """The tree with one value set, made where it was missing, or deleted; SpecErrors with SPC010 where it cannot be."""
    deletes = override.startswith(DELETES)
    path, equals, text = (override[1:], "", "") if deletes else override.partition("=")
    file = file_of(override)
    key = Span(file, 1, 1, 1, max(2, len(path) + deletes + 1))
    parts = parts_of(path)
    if deletes and (not all(parts) or "=" in path):
        raise SpecErrors((_usage_of_delete(override, key),))
    if not equals and not deletes:
        raise SpecErrors((_usage(override, key),))
    if not all(parts):
        raise SpecErrors((_empty_part(override, path, key),))
    if not deletes:
        return place(root, parts, Entry(key, parse_value(text, file, len(path) + 1)))
    left = _delete(root, parts, (), override, key)
    assert isinstance(left, Mapping)
    return left


def place(root: Mapping, parts: tuple[str, ...], entry: Entry) -> Mapping:
    """The tree with one entry at a path, made where it was missing."""
    placed = _set(root, parts, entry, ())
    assert isinstance(placed, Mapping)
    return placed


def parts_of(path: str) -> tuple[str, ...]:
    """The keys of a dotted path. What stands below `sweep.grid` and `sweep.zip` are whole paths."""
    parts = path.split(".")
    if parts[0] == "sweep" and len(parts) > 2:
        return (*parts[:2], ".".join(parts[2:]))
    return tuple(parts)


def sets_extends(override: str) -> bool:
    """Whether an override says what a section extends."""
    return override.removeprefix(DELETES).partition("=")[0].split(".")[-1] == KEY


def _set(node: Node, parts: tuple[str, ...], entry: Entry, above: tuple[str, ...]) -> Node:
    first, rest = parts[0], parts[1:]
    if isinstance(node, Sequence):
        index = _index(node, first, (*above, first), entry.key)
        old_item = node.items[index]
        item = over(old_item, entry.node) if not rest else _set(old_item, rest, entry, (*above, first))
        return replace(node, items=(*node.items[:index], item, *node.items[index + 1 :]))
    entries = dict(node.entries) if isinstance(node, Mapping) else {}
    old = entries.get(first)
    if not rest:
        entries[first] = entry if old is None else Entry(entry.key, over(old.node, entry.node))
    else:
        below = old.node if old is not None else Mapping({}, entry.key)
        key = old.key if old is not None else entry.key
        entries[first] = Entry(key, _set(below, rest, entry, (*above, first)))
    return Mapping(entries, node.span, node.replaced if isinstance(node, Mapping) else node)


def _delete(node: Node, parts: tuple[str, ...], above: tuple[str, ...], override: str, span: Span) -> Node:
    first, rest = parts[0], parts[1:]
    here = (*above, first)
    if isinstance(node, Sequence):
        index = _index(node, first, here, span)
        left = (_delete(node.items[index], rest, here, override, span),) if rest else ()
        return replace(node, items=(*node.items[:index], *left, *node.items[index + 1 :]))
    if not isinstance(node, Mapping) or first not in node.entries:
        raise SpecErrors((_nothing(node, here, rest, override, span),))
    entries = dict(node.entries)
    old = entries.pop(first)
    if rest:
        entries = {**node.entries, first: Entry(old.key, _delete(old.node, rest, here, override, span))}
    return replace(node, entries=entries)


def _index(node: Sequence, part: str, path: tuple[str, ...], span: Span) -> int:
    if part.isascii() and part.isdigit() and int(part[:9]) < len(node.items):
        return int(part)
    count = len(node.items)
    name = ".".join(path[:-1])
    help_text = f"its items are `{name}.0` to `{name}.{count - 1}`" if count > 1 else f"its one item is `{name}.0`"
    headline = f"`{name}` is a list of {count}, and has no item `{part}`"
    raise SpecErrors((_error(headline, span, help_text if count else f"set the whole list: `--set {name}=[...]`"),))


def _nothing(node: Node, path: tuple[str, ...], rest: tuple[str, ...], override: str, span: Span) -> Diagnostic:
    known = list(node.entries) if isinstance(node, Mapping) else []
    near = nearest(path[-1], known)
    section = ".".join(path[:-1])
    if near is not None:
        help_text = f"did you mean `{DELETES}{'.'.join((*path[:-1], near, *rest))}`?"
    elif known:
        help_text = f"{f'`{section}`' if section else 'the spec'} has {', '.join(f'`{key}`' for key in known)}"
    else:
        help_text = f"`{section}` holds a value, and no keys"
    return _error(f"`{override}` deletes nothing: this spec has no `{'.'.join(path)}`", span, help_text)


def _usage(override: str, span: Span) -> Diagnostic:
    example = override if override and "." in override else "model.num_layers"
    help_text = f"write a path, an equals sign and a value: `--set {example}=12`"
    if override:
        return _error(f"`{override}` does not say what to set", span, f"{help_text}, or `~{override}` to delete it")
    return _error("the override is empty", span, help_text)


def _usage_of_delete(override: str, span: Span) -> Diagnostic:
    return _error(
        f"`{override}` does not say what to delete", span, "write a path after the `~`: `--set ~cluster.slurm`"
    )


def _empty_part(override: str, path: str, span: Span) -> Diagnostic:
    if not path:
        return _error(f"`{override}` has no path before the `=`", span, "such as `--set model.num_layers=12`")
    parts = [part for part in path.split(".") if part]
    help_text = f"did you mean `{'.'.join(parts)}`?" if parts else "such as `model.num_layers`"
    return _error(f"the path `{path}` has an empty part", span, help_text)


def _error(headline: str, span: Span, help_text: str) -> Diagnostic:
    return Diagnostic("SPC010", "error", headline, (Label(span, primary=True),), help=help_text)
