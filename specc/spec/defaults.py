"""Values that a section has because nobody wrote another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined

from specc.diagnostics.diagnostic import Path
from specc.spec.base import Node


def defaulted(node: Node, above: Path = (), *, whole: bool = False) -> Iterator[Path]:
    """Paths below a section whose value is the default, written out or not; all of them where the section itself is."""
    for name, info in type(node).model_fields.items():
        value, path = getattr(node, name), (*above, info.alias or name)
        default = info.get_default(call_default_factory=True, validated_data={})
        same = whole or (default is not PydanticUndefined and _equal(value, default))
        if isinstance(value, Node):
            yield from defaulted(value, path, whole=same)
        elif same:
            yield path


def _equal(one: Any, other: Any) -> bool:
    """Equal, and of one type: 1 is not true."""
    return type(one) is type(other) and bool(one == other)
