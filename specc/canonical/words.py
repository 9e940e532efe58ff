"""One spelling for each scalar: quantities, floats with an exponent, quotes only where they are needed."""

from __future__ import annotations

import json
import re
from typing import Any

from specc.source.scalars import resolve
from specc.spec.quantities import Quantity, quantity

_EXPONENT = re.compile(r"(?P<sign>[-+]?)(?P<whole>[0-9]*)(?P<part>\.[0-9]*)?[eE](?P<minus>[-+]?)0*(?P<power>[0-9]+)")
# Words that any reader of YAML takes as they stand, in flow collections too. More than these keep their quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_/](?:[A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?")
_LIKE_A_NUMBER = re.compile(r"[0-9][0-9_.-]*")
_OLD_BOOLEANS = frozenset({"yes", "no", "on", "off", "y", "n"})


def spell(text: str, raw: str, style: str, options: list[Any]) -> str:
    """The one spelling of a scalar that stands on one line; `options` are the types that may stand there."""
    counted = _quantity(text) if Quantity in options else None
    if counted is not None and isinstance(resolve(text), str):
        return str(counted)
    if style in ("'", '"'):
        return _quoted(text, raw, style)
    if "\n" in raw:
        return text if is_plain(text) else _double(text)
    value = resolve(text)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(text)
    return "null" if value is None and raw.lower() == "null" else raw


def is_plain(text: str) -> bool:
    """Whether a text needs no quotes, for any reader."""
    if not _PLAIN.fullmatch(text) or text.lower() in _OLD_BOOLEANS or _LIKE_A_NUMBER.fullmatch(text):
        return False
    return resolve(text) == text


def same(one: object, other: object) -> bool:
    """Whether two scalars mean the same: equal, or the same quantity."""
    if isinstance(one, str) and isinstance(other, str) and one != other:
        counted = _quantity(one), _quantity(other)
        return None not in counted and _amount(counted[0]) == _amount(counted[1])
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _amount(counted: Quantity | None) -> tuple[object, str]:
    assert counted is not None
    return counted.amount, counted.unit


def _quantity(text: str) -> Quantity | None:
    try:
        return quantity(text.strip())
    except ValueError:
        return None


def _quoted(text: str, raw: str, style: str) -> str:
    if is_plain(text):
        return text
    if "\n" in raw:
        return _double(text)
    simple = text.isprintable() and '"' not in text and "\\" not in text
    return f'"{text}"' if style == "'" and simple else raw


def _double(text: str) -> str:
    """Between double quotes, whatever it holds."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in written)


def _float(text: str) -> str:
    """`1e-4` as `1.0e-4`: a reader of YAML 1.1 takes a float without a point or without a sign for text."""
    match = _EXPONENT.fullmatch(text)
    if match is None:
        return text
    part = match["part"] or "."
    mantissa = f"{match['whole'] or '0'}{part if len(part) > 1 else '.0'}"
    return f"{match['sign']}{mantissa}e{match['minus'] or '+'}{match['power']}"
