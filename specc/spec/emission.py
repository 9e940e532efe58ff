"""What the language can say and no code is emitted for: kinds whose class says `lowered = False`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node
from specc.spec.no_code import no_code
from specc.spec.spec import Spec

_REPORTED = frozenset({"stages", "data"})
"""Stages are reported as a whole (SPC810), and sources where they are read (SPC213)."""


def check_emission(spec: Spec) -> Iterator[Finding]:
    """A note for every such kind; a stage without code is reported as a whole (SPC810), and not what stands in it."""
    for name in type(spec).model_fields:
        if name not in _REPORTED:
            yield from _below(getattr(spec, name), (name,))
    for name, stage in spec.stages.items():
        if stage.lowered:
            yield from _below(stage, ("stages", name))


def _below(value: object, path: Path) -> Iterator[Finding]:
    if isinstance(value, Node) and not value.lowered:
        key = ".".join(str(part) for part in path)
        yield no_code(f"`{key}` of kind `{getattr(value, 'kind', '')}`", (At((*path, "kind")),))
    for part, item in _items(value):
        yield from _below(item, (*path, part))


def _items(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, BaseModel):
        yield from ((info.alias or name, getattr(value, name)) for name, info in type(value).model_fields.items())
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple):
        yield from enumerate(value)
