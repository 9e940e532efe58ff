"""Values that the shipped specs give to the keys: examples that are known to work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from specc import resources
from specc.source import SpecErrors, read
from specc.spec.parse import parse
from specc.spec.quantities import Quantity

Examples = Mapping[tuple[type[BaseModel], str], tuple[Any, ...]]
"""By model and key."""
_LONGEST = 60


def shipped() -> Examples:
    """Scalars, and lists of scalars, that are written out in the shipped specs, in the order of the files' names."""
    found: dict[tuple[type[BaseModel], str], tuple[Any, ...]] = {}
    for file in sorted((*resources.specs().glob("*.yaml"), *resources.specs().glob("presets/*.yaml"))):
        try:
            spec = parse(read(file))
        except SpecErrors:
            # A preset may be a part of a spec.
            continue
        for key, value in _written(spec):
            found[key] = tuple(dict.fromkeys((*found.get(key, ()), value)))
    return found


def plain(value: Any) -> Any:
    """A value as it would be written: quantities as text, lists as lists, of models what is not their default."""
    if isinstance(value, Quantity):
        return str(value)
    if isinstance(value, BaseModel):
        items = type(value).model_fields.items()
        return {
            info.alias or name: plain(getattr(value, name)) for name, info in items if name in value.model_fields_set
        }
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def _written(node: BaseModel) -> Iterator[tuple[tuple[type[BaseModel], str], Any]]:
    for name, info in type(node).model_fields.items():
        value = getattr(node, name)
        if name in node.model_fields_set and _is_short(value):
            yield (type(node), info.alias or name), str(value) if isinstance(value, Quantity) else value
        for below in _below(value):
            yield from _written(below)


def _is_short(value: Any) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    scalars = all(isinstance(item, str | int | float | Quantity) for item in items)
    return bool(items) and scalars and len(str(value)) <= _LONGEST


def _below(value: Any) -> Iterator[BaseModel]:
    if isinstance(value, BaseModel):
        yield value
    elif isinstance(value, Mapping | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _below(item)
