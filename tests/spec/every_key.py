"""One small spec for every section of the language, so that each of its keys can be got wrong once.

The sections come from the language itself; a key or a kind that is added is covered without being listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from specc.source import read
from specc.source.tree import to_data
from specc.spec.language import ANY, _all_sections, _members, fields
from specc.spec.quantities import Units
from specc.spec.spec import Spec
from tests.conftest import ROOT

TINY = ROOT / "specs/presets/tiny.yaml"
Step = str | int
NAME = "text"
"""What stands for a name that the user chooses: `tiny.yaml` has a data set of this name."""


@dataclass(frozen=True)
class Section:
    """A section with its place in a spec that holds it; `spec` lacks nothing that is required."""

    path: tuple[Step, ...]
    model: type[BaseModel]
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """Such as `model.attention: Gqa`."""
        return f"{'.'.join(map(str, self.path)) or 'spec'}: {self.model.__name__}"

    def here(self, data: Any) -> Any:
        """What stands at the section's place."""
        for part in self.path:
            data = data[part]
        return data

    def with_keys(self, change: dict[str, Any], without: tuple[str, ...] = ()) -> dict[str, Any]:
        """The spec with keys of the section set and others left out."""
        own = {key: value for key, value in self.here(self.spec).items() if key not in without}
        return placed(self.spec, self.path, {**own, **change})


def sections() -> list[Section]:
    """Every section of the language once, where it stands first; each kind of a choice for itself."""
    base = _plain(to_data(read(TINY).root))
    found: dict[type[BaseModel], Section] = {}
    for section in (Section((), Spec, base), *_below(Spec, (), base)):
        found.setdefault(section.model, section)
    return list(found.values())


def _below(model: type[BaseModel], path: tuple[Step, ...], spec: dict[str, Any]) -> Iterator[Section]:
    for key, models in _all_sections(model).items():
        name, _, entry = key.partition(".")
        info = fields(model)[name]
        steps: tuple[Step, ...] = (name,)
        if entry == ANY:
            steps = (name, _entry(info))
        elif any(get_origin(option) is tuple for option in _members(info.annotation)):
            steps = (name, 0)
        for below in models:
            here = (*path, *steps)
            inner = placed(spec, here, minimal(below))
            yield Section(here, below, inner)
            yield from _below(below, here, inner)


def _entry(info: FieldInfo) -> str:
    del info
    return NAME


def placed(data: Any, path: tuple[Step, ...], value: Any) -> Any:
    """Plain data with one value set, made where it was missing."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        items = list(data) if isinstance(data, list) else []
        return [placed(items[0] if items else {}, rest, value), *items[1:]]
    below = data if isinstance(data, dict) else {}
    return {**below, first: placed(below.get(first, {}), rest, value)}


@cache
def _required(model: type[BaseModel]) -> tuple[tuple[str, FieldInfo], ...]:
    return tuple((key, info) for key, info in fields(model).items() if info.is_required() or key == "kind")


def minimal(model: type[BaseModel]) -> dict[str, Any]:
    """The shortest mapping that the model takes."""
    return {key: sample(info.annotation, info) for key, info in _required(model)}


def sample(annotation: Any, info: FieldInfo | None = None) -> Any:
    """A value that a field takes."""
    units = [mark for mark in (info.metadata if info else ()) if isinstance(mark, Units)]
    units += [mark for mark in get_args(annotation)[1:] if isinstance(mark, Units)]
    if units:
        return units[0].example
    option = _members(annotation)[0]
    origin = get_origin(option)
    if origin is Literal:
        return get_args(option)[0]
    if origin is dict:
        return {NAME: sample(get_args(option)[1])}
    if origin is tuple:
        arguments = [argument for argument in get_args(option) if argument is not Ellipsis]
        return [sample(argument) for argument in arguments]
    if isinstance(option, type) and issubclass(option, BaseModel):
        return minimal(option)
    if option is float:
        return _above(info)
    return {str: "a", int: 4, bool: True}[option]


def _above(info: FieldInfo | None) -> float:
    """A number within the limits of a field."""
    limits = [getattr(mark, name, None) for mark in (info.metadata if info else ()) for name in ("gt", "ge")]
    return 0.5 + max([limit for limit in limits if limit is not None], default=0.0)


def takes(annotation: Any) -> set[type]:
    """The Python types, as YAML gives them, that a field may hold; `Units` may be written as text or number."""
    found: set[type] = set()
    for option in _members(annotation):
        origin = get_origin(option) or option
        if origin is Literal:
            found |= {type(word) for word in get_args(option)}
        elif origin in (dict, tuple):
            found.add(dict if origin is dict else list)
        elif isinstance(origin, type) and issubclass(origin, BaseModel):
            found.add(dict)
        elif origin in (str, int, float, bool):
            found |= {float, int} if origin is float else {origin}
        else:
            found.add(str)
    return found | ({NoneType} if NoneType in get_args(annotation) else set())


def _plain(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _plain(value) for key, value in data.items()}
    return [_plain(item) for item in data] if isinstance(data, tuple) else data
