"""The language as JSON Schema, draft 2020-12, for editors and validators.

What a mapping may hold and what it must hold are separate definitions. A mapping that extends a preset may leave out
any key, and so may every mapping below it: the preset may have it. So `needs.X` holds only where no `extends` is
written, and descends only through mappings without one.
"""

from __future__ import annotations

import json
from typing import Any

from specc.reference import words
from specc.reference.sections import DEFS, ROOT, Key, Language, Schema, Section

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDS = {
    "description": "A preset, or a list of them, laid below what this mapping says. A path beside this file or among "
    "the presets of specc.",
    "markdownDescription": "A preset, or a list of them, laid below what this mapping says.\n\n- a path, beside this "
    "file or among the presets of specc",
    "x-class": "section",
    "examples": ["presets/tiny.yaml"],
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}],
}
_EXTENDING = {"required": ["extends"]}


def schema(language: Language) -> Schema:
    """The schema of a whole spec."""
    whole = language.sections[ROOT]
    definitions = _definitions(language)
    both = [_reference(ROOT), _reference(f"needs.{ROOT}")]
    return {"$schema": DRAFT, "title": "specc", "description": whole.doc, "allOf": both, "$defs": definitions}


def part(language: Language, path: tuple[str, ...]) -> Schema | None:
    """The schema of a preset of one section, which may leave out any key; None where there is no such section."""
    definitions = _definitions(language)
    found: Schema | None = _reference(ROOT)
    for step in path:
        found = _step(found or {}, step, language)
    options = [option for option in (found or {}).get("anyOf", [found or {}]) if "$ref" in option]
    if not options and "additionalProperties" not in (found or {}):
        return None
    assert found is not None
    holds = options[0] if options else _open(found)
    used = _used(holds, definitions)
    below = {name: definition for name, definition in definitions.items() if name in used}
    return {"$schema": DRAFT, "title": f"specc: {'.'.join(path)}", **holds, "$defs": below}


def as_text(found: Schema) -> str:
    """The schema as a file holds it."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _reference(name: str) -> Schema:
    return {"$ref": f"{DEFS}{name}"}


def _definitions(language: Language) -> dict[str, Schema]:
    found = {section.name: _mapping(section) for section in language.sections.values()}
    found |= {name: _choice(name, members, language) for name, members in language.sets.items()}
    found |= {f"needs.{section.name}": _needs(section) for section in language.sections.values()}
    found |= {f"needs.{name}": _needs_of_choice(members, language) for name, members in language.sets.items()}
    return found


def _mapping(section: Section) -> Schema:
    """The keys that a section may hold."""
    properties = {key.name: _property(key, section) for key in section.keys}
    return {
        "type": "object",
        "description": section.doc,
        "properties": {**properties, "extends": _EXTENDS},
        "additionalProperties": False,
    }


def _property(key: Key, section: Section) -> Schema:
    meaning = section.doc.partition("\n")[0] if key.name == "kind" else key.meaning
    takes = _open(key.takes)
    described: Schema = {
        "description": f"{meaning} {words.sentence(key)}",
        "markdownDescription": f"{meaning}\n\n{words.bullets(key)}",
        "x-class": key.effect,
    }
    if key.examples:
        described["examples"] = list(key.examples)
    if not key.required and key.default is not None:
        described["default"] = key.default
    return {**described, **takes}


def _open(takes: Schema) -> Schema:
    """Names that the user chooses stand beside `extends`."""
    if "additionalProperties" not in takes:
        return takes
    return {**takes, "properties": {"extends": _EXTENDS}}


def _choice(name: str, members: tuple[str, ...], language: Language) -> Schema:
    """One mapping among several, told apart by `kind`; where the kind is left to a preset, any of them will do."""
    kinds = [
        {
            "const": language.sections[member].kind,
            "description": language.sections[member].doc,
            "markdownDescription": language.sections[member].doc,
        }
        for member in members
    ]
    chosen = [{"if": _is(member), "then": _reference(member)} for member in members]
    left_open = {"if": {"not": {"required": ["kind"]}}, "then": {"anyOf": [_reference(member) for member in members]}}
    usual = [kind["const"] for member, kind in zip(members, kinds, strict=True) if language.sections[member].is_default]
    meaning = f"Which {name}." + (f" Default: {usual[0]}." if usual else "")
    return {
        "type": "object",
        "properties": {"kind": {"description": meaning, "oneOf": kinds}},
        "allOf": [*chosen, left_open],
    }


def _is(member: str) -> Schema:
    return {"properties": {"kind": {"const": member.partition(".")[2]}}, "required": ["kind"]}


def _needs(section: Section) -> Schema:
    """What a section must hold unless it extends a preset."""
    required = [key.name for key in section.keys if key.required]
    below = {key.name: needs for key in section.keys if (needs := _needs_below(key.takes))}
    return {"if": {"not": _EXTENDING}, "then": {"required": required, "properties": below}}


def _needs_of_choice(members: tuple[str, ...], language: Language) -> Schema:
    """Where no preset can have the kind, none means the kind that is the default, or is a mistake."""
    chosen: list[Schema] = [{"if": _is(member), "then": _reference(f"needs.{member}")} for member in members]
    usual = next((member for member in members if language.sections[member].is_default), None)
    if usual is None:
        return {"if": {"not": _EXTENDING}, "then": {"required": ["kind"], "allOf": chosen}}
    both = {"allOf": [_reference(usual), _reference(f"needs.{usual}")]}
    without = {"if": {"not": {"required": ["kind"]}}, "then": both}
    return {"if": {"not": _EXTENDING}, "then": {"allOf": [*chosen, without]}}


def _needs_below(takes: Schema) -> Schema:
    """What the mappings inside a value must hold; empty where there are none. Says nothing of other values."""
    if "$ref" in takes:
        return _reference(f"needs.{takes['$ref'].removeprefix(DEFS)}")
    if "additionalProperties" in takes:
        below = _needs_below(takes["additionalProperties"])
        return {"if": {"not": _EXTENDING}, "then": {"additionalProperties": below}} if below else {}
    if "items" in takes:
        below = _needs_below(takes["items"])
        return {"items": below} if below else {}
    parts = [needs for option in takes.get("anyOf", []) if (needs := _needs_below(option))]
    return {"allOf": parts} if parts else {}


def _step(found: Schema, name: str, language: Language) -> Schema | None:
    """What stands under a key, or under any name that the user chooses; None where nothing may."""
    for option in found.get("anyOf", [found]):
        if "additionalProperties" in option:
            return dict(option["additionalProperties"])
        target = option.get("$ref", "").removeprefix(DEFS)
        for member in language.sets.get(target, (target,)):
            keys = language.sections[member].keys if member in language.sections else ()
            below = next((key.takes for key in keys if key.name == name), None)
            if below is not None:
                return below
    return None


def _used(found: Any, definitions: dict[str, Schema], seen: set[str] | None = None) -> set[str]:
    """Names of the definitions that a schema reaches."""
    seen = set() if seen is None else seen
    if isinstance(found, list):
        for item in found:
            _used(item, definitions, seen)
    elif isinstance(found, dict):
        name = str(found.get("$ref", "")).removeprefix(DEFS)
        if name and name not in seen:
            seen.add(name)
            _used(definitions[name], definitions, seen)
        for value in found.values():
            _used(value, definitions, seen)
    return seen
