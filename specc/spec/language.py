"""The language asked about itself: which keys a section has, what they mean, and where else a word is legal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.source.tree import Mapping as Tree
from specc.source.tree import Node, child
from specc.spec.spec import Spec

ANY = "*"
"""Stands for a name that the user chooses."""


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields of a section under the keys that a user writes."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def keys(path: Path, root: Tree) -> list[str]:
    """Legal keys of the section at a path of this spec; empty where there is none."""
    model = _section(path, root)
    return [] if model is None else list(fields(model))


def nearest_key(path: Path, root: Tree, key: str) -> str | None:
    """The legal key of a section that a misspelt one was meant to be."""
    return nearest(key, keys(path, root))


def describe(path: Path, root: Tree) -> str | None:
    """What a key means."""
    if not path or not isinstance(path[-1], str):
        return None
    model = _section(path[:-1], root)
    info = fields(model).get(path[-1]) if model is not None else None
    return info.description if info is not None else None


def section_name(path: Path, root: Tree, *, bare: bool = False) -> str:
    """A section as messages call it: `attention gqa`, `stages.sft`."""
    if not path:
        return "a spec"
    last = next((str(part) for part in reversed(path) if isinstance(part, str)), "a spec")
    if bare:
        chosen = {"stages": "stage"}
        return chosen.get(str(path[-2]), last) if len(path) > 1 else last
    node = _node(path, root)
    kind = node.scalar("kind") if isinstance(node, Tree) else None
    name = ".".join(str(part) for part in path)
    return f"`{name}` of kind `{kind}`" if kind is not None else f"`{name}`"


def where(key: str, root: Tree, path: Path) -> list[str]:
    """Sections of the language that have this key: this spec's own first, nearest to `path` first."""
    found = [section for section, model in _sections(Spec, ()) if key in fields(model)]
    concrete = [real for section in found for real in _instances(section, root)]
    concrete.sort(key=lambda real: -_shared(real.split("."), path))
    general = [".".join(section).replace(ANY, "NAME") for section in found]
    return list(dict.fromkeys([*concrete, *general]))


def _shared(parts: list[str], path: Path) -> int:
    """How many leading parts two paths share."""
    return next((n for n, (a, b) in enumerate(zip(parts, path, strict=False)) if a != b), min(len(parts), len(path)))


def _instances(path: tuple[str, ...], root: Tree) -> list[str]:
    nodes: list[tuple[tuple[str, ...], Node]] = [((), root)]
    for part in path:
        step = []
        for prefix, node in nodes:
            names = list(node.entries) if part == ANY and isinstance(node, Tree) else [part]
            step += [((*prefix, name), below) for name in names if (below := child(node, name)) is not None]
        nodes = step
    return [".".join(prefix) for prefix, _ in nodes if prefix]


def _section(path: Path, root: Tree) -> type[BaseModel] | None:
    """The model that the mapping at a path must obey, following the kinds that the spec chose."""
    model: Any = Spec
    node: Node | None = root
    for part in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            info = fields(model).get(str(part))
            if info is None:
                return None
            options = _members(info.annotation)
        else:
            options = model
        node = child(node, part) if node is not None else None
        model = _choose(options, node, part)
        if model is None:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _choose(options: list[Any], node: Node | None, part: str | int) -> Any:
    """One member of a union: the one of the written kind, else the only model; item types below containers."""
    del part
    containers = [option for option in options if get_origin(option) in (dict, tuple)]
    if containers:
        arguments = get_args(containers[0])
        return _members(arguments[1] if get_origin(containers[0]) is dict else arguments[0])
    models = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
    kind = node.scalar("kind") if isinstance(node, Tree) else None
    for option in models:
        tag = option.model_fields.get("kind")
        if tag is not None and kind in get_args(tag.annotation):
            return option
    return models[0] if len(models) == 1 else None


def _members(annotation: Any) -> list[Any]:
    """The members of a union, through `Annotated`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [member for option in get_args(annotation) for member in _members(option)]
    return [] if annotation is NoneType else [annotation]


@cache
def _all_sections(model: type[BaseModel]) -> Mapping[str, tuple[type[BaseModel], ...]]:
    """Sections directly below a model, by key; `key.*` where the user chooses names."""
    found: dict[str, tuple[type[BaseModel], ...]] = {}
    for key, info in fields(model).items():
        options = _members(info.annotation)
        suffix = ""
        for option in options:
            if get_origin(option) is dict:
                options, suffix = _members(get_args(option)[1]), f".{ANY}"
        models = tuple(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
        if models:
            found[key + suffix] = models
    return found


def _sections(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    yield path, model
    for key, models in _all_sections(model).items():
        for below in models:
            yield from _sections(below, (*path, *key.split(".")))


def _node(path: Path, root: Tree) -> Node | None:
    node: Node | None = root
    for part in path:
        node = child(node, part) if node is not None else None
    return node
