"""What a key takes, in words."""

from __future__ import annotations

import json
import re
from typing import Any

from specc.reference.sections import DEFS, Key, Schema
from specc.source.scalars import resolve

EFFECTS = {
    "identity": "changing it makes another experiment",
    "numerics": "the same experiment, not bit for bit",
    "execution": "where and how it runs, not what comes out",
    "annotation": "for people",
    "section": "holds further keys, each with its own class",
}
_UNITS = {"%": "percent", "seconds": "seconds, minutes, hours or days"}


def sentence(key: Key) -> str:
    """What a key takes and where it belongs, in a line of plain text."""
    said = default(key).replace("`", "")
    state = "Required" if key.required else f"Default: {said}"
    kind = takes(key.takes).replace("`", "")
    return f"{kind[:1].upper()}{kind[1:]}. {state}. {key.effect.capitalize()}: {EFFECTS[key.effect]}."


def bullets(key: Key) -> str:
    """The same as a Markdown list. Editors show the examples by themselves."""
    said = default(key)
    state = said if key.required else f"default: {said}"
    return f"- {takes(key.takes)}\n- {state}\n- {key.effect}: {EFFECTS[key.effect]}"


def takes(schema: Schema) -> str:
    """Such as `a whole number, 1 to 65,536` or `a quantity in tokens or steps`."""
    if "$ref" in schema:
        return f"a mapping, `{schema['$ref'].removeprefix(DEFS)}`"
    if "anyOf" in schema:
        options = [takes(option) for option in schema["anyOf"]]
        return ", or ".join(options) if any("," in option for option in options) else listed(options)
    if "const" in schema:
        return f"`{scalar(schema['const'])}`"
    if "enum" in schema:
        return listed([f"`{scalar(word)}`" for word in schema["enum"]])
    if schema.get("x-units") == ["x"]:
        return "a multiple"
    if "x-units" in schema:
        return f"a quantity in {listed([_UNITS.get(unit, unit) for unit in schema['x-units']])}"
    named = {"integer": "a whole number", "number": "a number", "boolean": "`true` or `false`", "null": "nothing"}
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return named[kind] + _limits(schema)
    if kind == "array":
        return _list(schema)
    if kind == "object":
        names = "names" if "propertyNames" in schema else "paths"
        return f"{names}, each with {takes(schema.get('additionalProperties', {}))}"
    if kind == "string":
        return "a word" if "pattern" in schema else "text"
    return named.get(str(kind), "anything")


def default(key: Key) -> str:
    """The default as it would be written, or that it is nothing."""
    if key.required:
        return "required"
    if key.default is None:
        return "nothing"
    if key.default in ("", [], {}):
        return "its defaults" if any("$ref" in option for option in key.takes.get("anyOf", [key.takes])) else "empty"
    return f"`{written(key.default)}`"


def written(value: Any) -> str:
    """A value as flow YAML."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {written(item)}" for key, item in value.items() if item is not None)
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(item) for item in value)}]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A scalar as YAML 1.2; text in quotes only where it must be."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        # `1e-08` is a number of YAML 1.2 alone, `1.0e-8` of every reader.
        mantissa, e, exponent = f"{value!r}".partition("e")
        point = mantissa if "." in mantissa else f"{mantissa}.0"
        return f"{point}e{int(exponent)}" if e else mantissa
    text = str(value)
    plain = re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./% +-]*(?<! )", text)
    is_text = plain and isinstance(resolve(text), str)
    return text if is_text or not isinstance(value, str) else json.dumps(text, ensure_ascii=False)


def listed(words: list[str]) -> str:
    """Such as `a, b or c`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), "".join(words[-1:]))))


def _limits(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f", {_number(low)} to {_number(high)}"
    least = (
        f"at least {_number(low)}" if low is not None else f"more than {_number(above)}" if above is not None else ""
    )
    most = (
        f"at most {_number(high)}" if high is not None else f"less than {_number(below)}" if below is not None else ""
    )
    both = " and ".join(filter(None, (least, most)))
    return f", {both}" if both else ""


def _number(limit: float) -> str:
    if isinstance(limit, int) and limit >= 2**20 and limit & (limit - 1) == 0:
        return f"2^{limit.bit_length() - 1}"
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def _list(schema: Schema) -> str:
    item = schema.get("items")
    least, most = schema.get("minItems"), schema.get("maxItems")
    if not item:
        return f"a list of {'at least one value' if least else 'values'}"
    if least is not None and least == most:
        return f"a list of {least}, each {takes(item)}"
    return f"a list{' of at least one' if least else ''}, each {takes(item)}"
