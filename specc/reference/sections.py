"""The sections of the language, each with its keys: what the schema and the pages are both written from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import cleandoc
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from specc.reference.examples import Examples, plain, shipped
from specc.spec.language import fields
from specc.spec.spec import Spec

Schema = dict[str, Any]
DEFS = "#/$defs/"
ROOT = "spec"
_NOT_RUN = "Checked, planned and locked; this version of specc has no code for it."


@dataclass(frozen=True)
class Key:
    """One key: what it means, and what it takes as JSON Schema whose references name sections."""

    name: str
    meaning: str
    effect: str
    takes: Schema
    required: bool
    default: Any
    """As it would be written; None where there is none, or where it is nothing."""
    examples: tuple[Any, ...]


@dataclass(frozen=True)
class Section:
    """One mapping: `attention.gqa`, or a section that is no choice, such as `cluster`."""

    name: str
    kind: str | None
    doc: str
    keys: tuple[Key, ...]

    @property
    def is_default(self) -> bool:
        """Whether it is the kind of a mapping that names none."""
        return any(key.name == "kind" and not key.required for key in self.keys)


@dataclass(frozen=True)
class Language:
    """Every section by name, the whole spec first; `sets` gives the sections that each choice is among."""

    sections: Mapping[str, Section]
    sets: Mapping[str, tuple[str, ...]]


def language() -> Language:
    """The language as it is defined."""
    raw = Spec.model_json_schema(schema_generator=_Generator)
    below = raw.pop("$defs")
    models = {_dotted(model): model for model in _reached(Spec)}
    schemas = {schema["title"]: schema for schema in (raw, *below.values())}
    named = _names(tuple(models.values()))
    names = {f"{DEFS}{ref}": named[models[schema["title"]]] for ref, schema in below.items()}
    sets: dict[str, tuple[str, ...]] = {}
    found = shipped()
    # In the order in which a reader meets them, and not in pydantic's.
    sections = [_section(model, named[model], schemas[dotted], names, sets, found) for dotted, model in models.items()]
    return Language({section.name: section for section in sections}, sets)


class _Generator(GenerateJsonSchema):
    """Pydantic's own, with the model in place of its title."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        return {**super().model_schema(schema), "title": _dotted(schema["cls"])}


def _dotted(model: type) -> str:
    return f"{model.__module__}.{model.__qualname__}"


def _reached(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> Iterator[type[BaseModel]]:
    """Every model below one, itself first, each once."""
    seen = set() if seen is None else seen
    if model in seen:
        return
    seen.add(model)
    yield model
    for info in model.model_fields.values():
        for below in _models(info.annotation):
            yield from _reached(below, seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _names(models: tuple[type[BaseModel], ...]) -> dict[type[BaseModel], str]:
    """A name for each model; of two that would share one, only the kind in the file of its name has it."""
    short = [_name(model) for model in models]
    named = {}
    for model, name in zip(models, short, strict=True):
        file = model.__module__.rpartition(".")[2]
        named[model] = name if short.count(name) == 1 or file == _kind(model) else f"{file}_{name}"
    names = list(named.values())
    sets = {name.partition(".")[0] for name in names if "." in name}
    taken = [name for name in names if names.count(name) > 1 or name in sets]
    assert not taken, f"name these classes otherwise: {taken}"
    return named


def _name(model: type[BaseModel]) -> str:
    """`attention.gqa` for a kind, else the name of the class in the style of keys."""
    if model is Spec:
        return ROOT
    kind = _kind(model)
    if kind is not None:
        return f"{_set(model)}.{kind}"
    word = model.__name__.removesuffix("Spec")
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in word).lstrip("_")


def _kind(model: type[BaseModel]) -> str | None:
    info = model.model_fields.get("kind")
    return None if info is None else str(get_args(info.annotation)[0])


def _set(model: type[BaseModel]) -> str:
    """The folder that a kind lies in."""
    return model.__module__.rpartition(".")[0].rpartition(".")[2]


def _section(
    model: type[BaseModel],
    called: str,
    schema: Schema,
    names: Mapping[str, str],
    sets: dict[str, tuple[str, ...]],
    found: Examples,
) -> Section:
    keys = []
    required = schema.get("required", ())
    for name, info in fields(model).items():
        takes = _clean(schema["properties"][name], names, sets)
        general = tuple(
            example for option in (takes, *takes.get("anyOf", ())) for example in option.pop("examples", ())
        )
        examples = found.get((model, name), general)[:3]
        examples = () if "const" in takes else examples
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        effect, meaning = str(extra["effect"]), info.description or ""
        keys.append(Key(name, meaning, effect, takes, name in required, _default(info), examples))
    if _kind(model) is not None:
        # The kind decides which other keys there are; a class has those first that it shares, needed or not.
        keys.sort(key=lambda key: (key.name != "kind", not key.required))
    return Section(called, _kind(model), _doc(model), tuple(keys))


def _doc(model: type[BaseModel]) -> str:
    doc = cleandoc(model.__doc__ or "")
    return doc if getattr(model, "lowered", True) else f"{doc}\n\n{_NOT_RUN}"


def _default(info: FieldInfo) -> Any:
    return None if info.is_required() else plain(info.get_default(call_default_factory=True))


_DROPPED = ("title", "effect", "description", "default", "discriminator", "path")


def _clean(schema: Any, names: Mapping[str, str], sets: dict[str, tuple[str, ...]]) -> Any:
    """Pydantic's schema of a value in our words: references by section, choices by set, no titles."""
    if isinstance(schema, list):
        return [_clean(item, names, sets) for item in schema]
    if not isinstance(schema, dict):
        return schema
    members = schema.get("oneOf", [schema] if "$ref" in schema else [])
    if members:
        return {"$ref": f"{DEFS}{_choice([names[member['$ref']] for member in members], sets)}"}
    cleaned = {key: _clean(value, names, sets) for key, value in schema.items() if key not in _DROPPED}
    return _shorter(cleaned)


def _choice(members: list[str], sets: dict[str, tuple[str, ...]]) -> str:
    """The name of a choice among sections: that of their set; or of the only one, where it is no choice."""
    if "." not in members[0]:
        return members[0]
    name = members[0].partition(".")[0]
    if sets.setdefault(name, tuple(members)) != tuple(members):
        # A field may take some kinds of a set only.
        name = f"{name}.{'_or_'.join(member.partition('.')[2] for member in members)}"
        sets[name] = tuple(members)
    return name


def _shorter(schema: Schema) -> Schema:
    """The same in fewer words, that drafts before 2020-12 read alike."""
    if "patternProperties" in schema:
        ((pattern, value),) = schema.pop("patternProperties").items()
        schema["propertyNames"] = {"pattern": pattern, **schema.get("propertyNames", {})}
        schema["additionalProperties"] = value
    if schema.get("additionalProperties") is True:
        schema["additionalProperties"] = {}
    first = (schema.get("prefixItems") or [None])[0]
    if first is not None and all(item == first for item in schema["prefixItems"]):
        del schema["prefixItems"]
        schema["items"] = first
    options = schema.get("anyOf", [])
    words = [option for option in options if "enum" in option or "const" in option]
    if len(words) > 1:
        merged = {"enum": [word for option in words for word in option.get("enum", [option.get("const")])]}
        options = [*(option for option in options if option not in words), merged]
        schema = {**schema, "anyOf": options} if len(options) > 1 else {**schema, **merged}
        if len(options) == 1:
            del schema["anyOf"]
    return schema
