"""The base of everything a user may write, and the four classes a field can belong to."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic._internal._model_construction import ModelMetaclass
from pydantic_core import PydanticCustomError, PydanticUndefined

# Names become folders, files, job names and parts of paths: letters that are safe in all of them.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=40)]
# Words of sbatch: they stand on lines of a shell script, so no blank and no control character.
SlurmWord = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.,:@&|*+()\[\]-]+$", max_length=200)]


def _no_boolean(value: Any) -> Any:
    """`true` equals 1 in Python, and is no number here."""
    if isinstance(value, bool | float):
        raise PydanticCustomError("int_type", "a whole number")
    return value


WholeNumber = BeforeValidator(_no_boolean)
"""Marks a choice among numbers."""


class _NodeType(ModelMetaclass):
    """Calls a kind with its own name: `Gqa(num_heads=8, num_kv_heads=2)`. Only Python code makes nodes by calling."""

    def __call__(self, *arguments: Any, **fields: Any) -> Any:
        info = getattr(self, "__pydantic_fields__", {}).get("kind")
        names = () if info is None else get_args(info.annotation)
        if len(names) == 1:
            fields.setdefault("kind", names[0])
        return super().__call__(*arguments, **fields)


class Node(BaseModel, metaclass=_NodeType):
    """One mapping of the spec: frozen, no key it does not know, no value of another type taken for the right one."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        populate_by_name=True,
        defer_build=True,
        allow_inf_nan=False,
    )

    lowered: ClassVar[bool] = True
    """Whether code is emitted for it; what has no lowering is checked, planned and locked all the same (SPC813)."""


def values_of(node: Node, sequence: type[tuple[Any, ...]] | type[list[Any]] = tuple) -> dict[str, Any]:
    """The values of a mapping as plain data, every tuple as a `sequence`.

    `model_dump` says the same, but builds a serializer of each class first, which takes longer than a whole check.
    """
    return {name: _plain(value, sequence) for name, value in node}


def identity(doc: str, default: Any = PydanticUndefined, **limits: Any) -> Any:
    """A field that makes another experiment when it changes: architecture, data, tokenizer, optimizer mathematics."""
    return _field("identity", doc, default, limits)


def numerics(doc: str, default: Any = PydanticUndefined, **limits: Any) -> Any:
    """A field that may change the last bits and not the experiment: layout, kernels, precision."""
    return _field("numerics", doc, default, limits)


def execution(doc: str, default: Any = PydanticUndefined, **limits: Any) -> Any:
    """A field that says where and how it runs: cluster, paths, cadence, logging."""
    return _field("execution", doc, default, limits)


def files(doc: str, default: Any = PydanticUndefined, **limits: Any) -> Any:
    """A field that names files, which alone may hold `${env:NAME}`: of class execution, so no identity hangs on it."""
    return _field("execution", doc, default, limits, path=True)


def annotation(doc: str, default: Any = PydanticUndefined, **limits: Any) -> Any:
    """A field for people: names, tags, descriptions."""
    return _field("annotation", doc, default, limits)


def section(doc: str, default: Any = PydanticUndefined, **limits: Any) -> Any:
    """A field that holds further fields, each of which has its own class."""
    return _field("section", doc, default, limits)


def _plain(value: Any, sequence: type[tuple[Any, ...]] | type[list[Any]]) -> Any:
    if isinstance(value, Node):
        return values_of(value, sequence)
    if isinstance(value, dict):
        return {key: _plain(item, sequence) for key, item in value.items()}
    return sequence(_plain(item, sequence) for item in value) if isinstance(value, tuple) else value


def _field(effect: str, doc: str, default: Any, limits: dict[str, Any], **marks: bool) -> Any:
    extra: dict[str, Any] = {"effect": effect, **marks}
    if "default_factory" in limits:
        return Field(description=doc, json_schema_extra=extra, **limits)
    return Field(default, description=doc, json_schema_extra=extra, **limits)
