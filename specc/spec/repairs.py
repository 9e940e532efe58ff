"""What to write in the place of a value of the wrong shape, where that is plain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.source.scalars import resolve
from specc.source.tree import Mapping, Node, Scalar, Sequence
from specc.spec import language
from specc.spec.refusals import Refusal

_MOST_KEYS = 6
"""A section with more is not repeated in a line of help."""


def of_shape(root: Mapping, refusal: Refusal) -> str | None:
    """The value in the shape that its key takes: `{kind: rmsnorm}` for `rmsnorm`, `[SPC111]` for `SPC111`."""
    options, node = language.options(refusal.path, root), refusal.node
    for option in options:
        if get_origin(option) is tuple and get_args(option)[-1:] == (Ellipsis,):
            inner = None if node is None else _one(language.below([option], node, 0), node)
            if inner is not None:
                return f"[{inner}]"
    models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    return None if node is None else _section(models, node)


def example(root: Mapping, refusal: Refusal) -> str | None:
    """A legal value: what was written without its quotes, or the default of the key."""
    node, path = refusal.node, refusal.path
    if isinstance(node, Scalar) and isinstance(node.value, str):
        bare = resolve(node.text)
        if isinstance(bare, int | float | bool) and refusal.type in ("int_type", "float_type", "bool_type"):
            return f"did you mean `{node.text}`, without quotes?"
    default = language.default(path, root)
    if isinstance(default, BaseModel) or default in (None, ()) or isinstance(default, dict):
        return None
    return f"such as `{_flow(default)}`, the default"


def with_kind(root: Mapping, path: Path) -> str | None:
    """The section as written with the kind that it has by default; None where that kind does not take its keys."""
    default, node = language.default(path, root), language.node_at(path, root)
    kind = getattr(default, "kind", None)
    if (
        not isinstance(default, BaseModel)
        or kind is None
        or not isinstance(node, Mapping)
        or len(node.entries) > _MOST_KEYS
    ):
        return None
    values = {key: entry.node for key, entry in node.entries.items()}
    if not set(values) <= set(language.fields(type(default))) or not all(
        isinstance(v, Scalar) for v in values.values()
    ):
        return None
    parts = [f"kind: {kind}", *(f"{key}: {v.text}" for key, v in values.items() if isinstance(v, Scalar))]
    section = f"{{{', '.join(parts)}}}"
    if any(value.span.file.startswith("--set ") for value in values.values()):
        return f"--set '{'.'.join(map(str, path))}={section}'"
    return f"{path[-1]}: {section}"


def nameless(root: Mapping, node: Node | None = None, path: Path = ()) -> Iterator[Finding]:
    """Sections that hold entries by name and were given one entry without its name."""
    node = root if node is None else node
    if isinstance(node, Mapping):
        kind = node.scalar("kind")
        if kind is not None and language.is_named((*path, "kind"), root) and kind in _kinds_of_entries(root, path):
            shown = f"{path[-1]}: {{NAME: {{kind: {kind}, ...}}}}" if len(node.entries) > 1 else None
            shown = shown or f"{path[-1]}: {{NAME: {{kind: {kind}}}}}"
            headline = f"{language.name(path)} holds entries by name, and this one has none"
            yield Finding("SPC004", headline, (At((*path, "kind"), of_key=True),), help=f"give it one: `{shown}`")
            return
        for key, entry in node.entries.items():
            yield from nameless(root, entry.node, (*path, key))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from nameless(root, item, (*path, index))


def _kinds_of_entries(root: Mapping, path: Path) -> list[str]:
    return language.kinds((*path, "kind"), root)


def _one(options: list[Any], node: Node) -> str | None:
    """The item of a list that a value without brackets was meant to be."""
    if str in options and isinstance(node, Scalar) and isinstance(node.value, str):
        return node.text
    models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    if isinstance(node, Mapping):
        kind = node.scalar("kind")
        tags = [tag for model in models for tag in language.tags(model)]
        more = ", ..." if len(node.entries) > 1 else ""
        return f"{{kind: {kind}{more}}}" if kind in tags else None
    return _section(models, node)


def _section(models: list[type[BaseModel]], node: Node) -> str | None:
    """A word as the section that it names: its kind, or the one key that the section needs."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None
    if any(node.value in language.tags(model) for model in models):
        return f"{{kind: {node.value}}}"
    if len(models) != 1 or language.tags(models[0]):
        return None
    fields = language.fields(models[0])
    needed = [key for key, info in fields.items() if info.is_required()]
    takes_text = len(needed) == 1 and _is_text(fields[needed[0]].annotation)
    return f"{{{needed[0]}: {node.text}}}" if takes_text else None


def _is_text(annotation: Any) -> bool:
    return annotation is str or str in get_args(annotation)


def _flow(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_flow, value))}]"
    return str(value)
