"""The language asked about itself: which keys a section has, what they mean, and where else a word is legal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest, slip
from specc.source.tree import Mapping as Tree
from specc.source.tree import Node, child
from specc.spec.spec import Spec
from specc.spec.synonyms import SYNONYMS

_LEAST_KEYS = 2
"""Fewer keys tell no section."""
ANY = "*"
"""Stands for a name that the user chooses."""
_ENTRIES = {"data": "data set"}
"""What one entry of a section is called where that is not the section's name without its `s`."""


@cache
def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields of a section under the keys that a user writes."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def keys(path: Path, root: Tree) -> list[str]:
    """Legal keys of the section at a path of this spec; empty where there is none."""
    model = _section(path, root)
    return [] if model is None else list(fields(model))


def kinds(path: Path, root: Tree, *, having: str = "kind") -> list[str]:
    """Kinds that the section at a path chooses among: all, or those that have a key."""
    return [kind for model in _models(options(path, root)) if having in fields(model) for kind in tags(model)]


def meant(path: Path, root: Tree, key: str) -> str | None:
    """The legal key that an unknown one was surely meant to be: a synonym, or a slip of the keyboard."""
    known = _by_need(path, root)
    word = SYNONYMS.get(key, key)
    if word in known:
        return word
    return None if kinds(path, root, having=word) else slip(key, known)


def is_kind(key: str) -> bool:
    """Whether a key was meant to be `kind`."""
    return slip(key, ["kind"]) is not None


def nearest_key(path: Path, root: Tree, key: str) -> str | None:
    """The legal key that an unknown one was meant to be; None for a word of another kind or of another section."""
    found = meant(path, root, key)
    if found is not None:
        return found
    word = SYNONYMS.get(key, key)
    elsewhere = kinds(path, root, having=word) or where(word, root, path)
    return None if elsewhere else nearest(key, keys(path, root))


def describe(path: Path, root: Tree) -> str | None:
    """What a key means."""
    if not path or not isinstance(path[-1], str):
        return None
    model = _section(path[:-1], root)
    info = fields(model).get(path[-1]) if model is not None else None
    return info.description if info is not None else None


def default(path: Path, root: Tree) -> Any:
    """What stands at a key by itself; None where it is needed, or nothing stands there."""
    model = _section(path[:-1], root) if path else None
    info = fields(model).get(str(path[-1])) if model is not None else None
    return None if info is None or info.is_required() else info.get_default(call_default_factory=True)


def length(path: Path, root: Tree) -> int | None:
    """How many values the list at a path has, where the language fixes it."""
    lists = [get_args(option) for option in options(path, root) if get_origin(option) is tuple]
    return len(lists[0]) if lists and Ellipsis not in lists[0] else None


def name(path: Path) -> str:
    """A place as messages call it: `stages.sft`, item 2 of `betas`."""
    index = next((index for index in reversed(range(len(path))) if isinstance(path[index], int)), None)
    if index is None:
        return f"`{'.'.join(str(part) for part in path)}`" if path else "a spec"
    item = f"item {int(path[index]) + 1} of {name(path[:index])}"
    return item if index == len(path) - 1 else f"{name(path[index + 1 :])} of {item}"


def section_name(path: Path, root: Tree) -> str:
    """A section as messages call it, with its kind: `model.attention` of kind `gqa`."""
    node = node_at(path, root)
    kind = node.scalar("kind") if isinstance(node, Tree) else None
    return f"{name(path)} of kind `{kind}`" if path and isinstance(kind, str) else name(path)


def effects(path: Path, root: Tree) -> set[str]:
    """Classes of the field at a path and of all that can stand below it."""
    above = _section(path[:-1], root)
    info = fields(above).get(str(path[-1])) if above is not None else None
    own = set() if info is None else {_effect(info)}
    models = [model for option in options(path, root) for model in _models([*_entries_of(option)])]
    below = [inner for model in models for _, inner in _sections(model, ())]
    return (own | {_effect(field) for model in below for field in fields(model).values()}) - {"section"}


def _effect(info: FieldInfo) -> str:
    extra = info.json_schema_extra
    return str(extra["effect"]) if isinstance(extra, dict) else ""


def _entries_of(option: Any) -> list[Any]:
    if get_origin(option) is dict:
        return _members(get_args(option)[1])
    return _members(get_args(option)[0]) if get_origin(option) is tuple else [option]


def is_path(path: Path, root: Tree) -> bool:
    """Whether the value at a path, or the list that it stands in, names files."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    model = _section(path[:-1], root) if path else None
    info = fields(model).get(str(path[-1])) if model is not None else None
    return info is not None and isinstance(info.json_schema_extra, dict) and "path" in info.json_schema_extra


def is_named(path: Path, root: Tree) -> bool:
    """Whether the last part of a path is a name that the user chooses."""
    return any(get_origin(option) is dict for option in options(path[:-1], root))


def noun(path: Path, root: Tree) -> str:
    """What stands at a path, in one word: attention, stage, filter."""
    entry = any(get_origin(option) in (dict, tuple) for option in options(path[:-1], root)) if path else False
    if not entry:
        return str(path[-1]) if path else "spec"
    above = str(path[-2])
    return _ENTRIES.get(above, above.removesuffix("s"))


def where(key: str, root: Tree, path: Path) -> list[str]:
    """Sections other than that at `path` that have this key: this spec's own first, nearest to `path` first."""
    sections = _every_section()
    found = [(section, model) for section, model in sections if key in fields(model)]
    general = []
    for section, model in found:
        real = _filled(section, path, root, key)
        everywhere = all(key in fields(other) for same, other in sections if same == section)
        words = under(real) + ("" if everywhere else f" of kind `{tags(model)[0]}`")
        general.append((0 if real == section else -_shared(real, path), words))
    named = [(-_shared(real, path), under(real)) for real in places(key, root, path)]
    return list(dict.fromkeys(words for _, words in sorted([*named, *general], key=lambda pair: pair[0])))


def under(section: tuple[str, ...]) -> str:
    """Where a key of a section stands, as messages say it."""
    return f"under `{'.'.join(section).replace(ANY, 'NAME')}`" if section else "at the top level"


def places(key: str, root: Tree, path: Path) -> list[tuple[str, ...]]:
    """Sections of this spec other than that at `path` that take this key, nearest to `path` first."""
    found = dict.fromkeys(section for section, model in _every_section() if key in fields(model))
    concrete = [real for section in found for real in _instances(section, root) if _takes(real, key, root)]
    return sorted((real for real in concrete if real != path), key=lambda real: -_shared(real, path))


def _by_need(path: Path, root: Tree) -> list[str]:
    """Legal keys of a section, those first that it lacks and needs, and those last that it has."""
    model, node = _section(path, root), node_at(path, root)
    written = node.entries if isinstance(node, Tree) else {}
    found = {} if model is None else fields(model)
    return sorted(found, key=lambda key: (key in written, not found[key].is_required()))


def _shared(parts: tuple[str, ...], path: Path) -> int:
    """How many leading parts two paths share."""
    return next((n for n, (a, b) in enumerate(zip(parts, path, strict=False)) if a != b), min(len(parts), len(path)))


def _filled(section: tuple[str, ...], path: Path, root: Tree, key: str) -> tuple[str, ...]:
    """A section with the names that `path` chose, where it may stand there with that key, written or not."""
    length = next((n for n, (a, b) in enumerate(zip(section, path, strict=False)) if a not in (b, ANY)), len(path))
    filled = (*(str(part) for part in path[: min(length, len(section))]), *section[length:])
    return filled if filled != path and options(filled, root) and _takes(filled, key, root) else section


def _instances(path: tuple[str, ...], root: Tree) -> list[tuple[str, ...]]:
    nodes: list[tuple[tuple[str, ...], Node]] = [((), root)]
    for part in path:
        step = []
        for prefix, node in nodes:
            names = list(node.entries) if part == ANY and isinstance(node, Tree) else [part]
            step += [((*prefix, name), below) for name in names if (below := child(node, name)) is not None]
        nodes = step
    return [prefix for prefix, _ in nodes]


def _takes(path: tuple[str, ...], key: str, root: Tree) -> bool:
    """Whether the kind that the spec chose for a section has this key; yes where nothing was chosen."""
    model = _section(path, root)
    return model is None or key in fields(model)


def _section(path: Path, root: Tree) -> type[BaseModel] | None:
    """The model that the mapping at a path must obey, following the kinds that the spec chose."""
    return _chosen(options(path, root), node_at(path, root))


def options(path: Path, root: Tree) -> list[Any]:
    """What may stand at a path: the members of a union, or the one type."""
    options: list[Any] = [Spec]
    node: Node | None = root
    for part in path:
        options = _below(options, node, part)
        node = child(node, part) if node is not None else None
    return options


def _below(options: list[Any], node: Node | None, part: str | int) -> list[Any]:
    container = next((option for option in options if get_origin(option) in (dict, tuple)), None)
    if container is not None:
        arguments = get_args(container)
        return _members(arguments[1] if get_origin(container) is dict else arguments[0])
    model = _chosen(options, node)
    # A file that is laid over another may leave the kind to it: then whatever some kind has under the key.
    unsaid = model is None and not (isinstance(node, Tree) and "kind" in node.entries)
    models = _models(options) if unsaid else [model] if model is not None else []
    found = [info for each in models if (info := fields(each).get(str(part))) is not None]
    return list(dict.fromkeys(option for info in found for option in _members(info.annotation)))


def _chosen(options: list[Any], node: Node | None) -> type[BaseModel] | None:
    """The model of the written kind, or of the one that stands where none is written, else the only one."""
    models = _models(options)
    kind = node.scalar("kind") if isinstance(node, Tree) else None
    chosen = [model for model in models if kind in tags(model) or (kind is None and _is_default(model))]
    if chosen:
        return chosen[0]
    return models[0] if len(models) == 1 else None


def _is_default(model: type[BaseModel]) -> bool:
    return "kind" in model.model_fields and not model.model_fields["kind"].is_required()


def _models(options: list[Any]) -> list[type[BaseModel]]:
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]


def tags(model: type[BaseModel]) -> tuple[str, ...]:
    """The kinds that a model stands for; one, or none where it is no choice."""
    info = model.model_fields.get("kind")
    return get_args(info.annotation) if info is not None else ()


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
    """Sections directly below a model, by key; `key.*` where the user chooses names, the key alone for items."""
    found: dict[str, tuple[type[BaseModel], ...]] = {}
    for key, info in fields(model).items():
        options = _members(info.annotation)
        suffix = ""
        for option in options:
            if get_origin(option) is dict:
                options, suffix = _members(get_args(option)[1]), f".{ANY}"
            elif get_origin(option) is tuple:
                options = _members(get_args(option)[0])
        if models := tuple(_models(options)):
            found[key + suffix] = models
    return found


def _sections(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    yield path, model
    for key, models in _all_sections(model).items():
        for below in models:
            yield from _sections(below, (*path, *key.split(".")))


@cache
def _every_section() -> tuple[tuple[tuple[str, ...], type[BaseModel]], ...]:
    return tuple(_sections(Spec, ()))


def node_at(path: Path, root: Tree) -> Node | None:
    """What stands at a path; None when nothing does."""
    node: Node | None = root
    for part in path:
        node = child(node, part) if node is not None else None
    return node


def preset_of(written: Iterable[str]) -> tuple[str, ...] | None:
    """The section whose keys these are, and none of a spec; the one nearest to the top."""
    names = set(written) - {"extends"}
    if len(names) < _LEAST_KEYS or names & {*fields(Spec)}:
        return None
    found = [path for path, model in _every_section() if names <= {*fields(model)}]
    return min(found, key=len, default=None)


def section_of(written: tuple[str, ...]) -> list[Any]:
    """What a file with these keys at its top may be: a spec, else the sections of a preset that have all of them."""
    found = [model for _, model in _sections(Spec, ()) if set(written) <= {*fields(model), "extends"}]
    return [Spec] if not found or Spec in found else list(dict.fromkeys(found))


def below(options: list[Any], node: Node | None, part: str | int) -> list[Any]:
    """What may stand under a key or an index of what `options` may be; `node` is what stands there."""
    return _below(options, node, part)


def order(options: list[Any], node: Node | None) -> list[str]:
    """Keys of a section in the order of the language; empty where the user chooses the names."""
    model = _chosen(options, node)
    model = model or next(iter(_models(options)), None)
    return [] if model is None else list(fields(model))
