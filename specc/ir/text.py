"""The IR as text that reads back equal: one field a line, nested by indentation, so that `diff` shows what a pass did.

    Layer
      count: 80
      parts: tuple
        - ('norm', ...)

A line is `field: VALUE`, `'key': VALUE` or `- VALUE`; `- 3 x VALUE` stands for three equal items. A VALUE is a Python
literal, a dataclass whose fields all fit on the line, or the head of a block (a dataclass, `tuple`, `list` or
`mapping`) whose members follow, indented by two. Which dataclasses there are is asked of the package, not listed here.
"""

from __future__ import annotations

import ast
import math
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from itertools import groupby
from typing import Any

_WIDTH = 100
_ITEM_WIDTH = 160
"""A dataclass that is an item of a sequence may take a longer line: a table of them is read down its columns."""
_SCALARS = (str, int, float, bool, type(None), bytes, Fraction)
_KEY = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^'":]+): (.+)""")
_FIELD = re.compile(r"([A-Za-z_][A-Za-z_0-9]*): (.+)")
_ITEM = re.compile(r"- (?:([1-9][0-9]*) x )?(.+)")
_NAMED = {"inf": math.inf, "nan": math.nan}


class IrTextError(ValueError):
    """Text that is not an IR; the message names the line."""


def to_text(value: Any) -> str:
    """The text of any IR value, with a newline at its end; TypeError for a value that no IR holds."""
    return "\n".join(_value(value)) + "\n"


def from_text(text: str) -> Any:
    """The value that `to_text` wrote: equal, and of the same types. Mappings come back as dicts. Else IrTextError."""
    lines = tuple(_Line.of(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    if not lines:
        raise IrTextError("line 1: the text is empty")
    reader = _Reader(lines)
    value = reader.value(lines[0], lines[0].text)
    if reader.position < len(lines):
        raise lines[reader.position].error("belongs to nothing above it")
    return value


@cache
def classes() -> Mapping[str, type]:
    """Every dataclass of the package, by name."""
    package = import_module("specc.ir")
    modules = [import_module(f"specc.ir.{module.name}") for module in pkgutil.iter_modules(package.__path__)]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
        if not name.startswith("_")
    }


# ---------------------------------------------------------------------------------------------------------- printing


def _value(value: Any, *, width: int = _WIDTH, item: bool = False) -> list[str]:
    """The line of a value, or the head of its block and the indented lines below."""
    inline = _inline(value) if item or not is_dataclass(value) else None
    limit = _ITEM_WIDTH if is_dataclass(value) else width
    if inline is not None and (len(inline) <= limit or isinstance(value, _SCALARS)):
        return [inline]
    if is_dataclass(value):
        members = [(f"{field.name}: ", _value(getattr(value, field.name))) for field in fields(value)]
        return [type(value).__name__, *_indented(members)]
    if isinstance(value, Mapping):
        return ["mapping", *_indented([(f"{_key(key)}: ", _value(each)) for key, each in value.items()])]
    if type(value) in (tuple, list):
        return [type(value).__name__, *_indented(_items(value))]
    raise TypeError(f"an IR holds no {type(value).__name__}: {value!r}")


def _items(values: tuple[Any, ...] | list[Any]) -> list[tuple[str, list[str]]]:
    """Neighbours that print alike are alike, and are printed once."""
    runs = [(lines, len(list(run))) for lines, run in groupby(_value(value, item=True) for value in values)]
    return [("- " if count == 1 else f"- {count} x ", lines) for lines, count in runs]


def _indented(members: list[tuple[str, list[str]]]) -> list[str]:
    return [f"  {line}" for prefix, (head, *rest) in members for line in (prefix + head, *rest)]


def _key(key: Any) -> str:
    if type(key) in (str, int, float, bool, type(None)):
        return repr(key)
    raise TypeError(f"a mapping of an IR has no key of type {type(key).__name__}: {key!r}")


def _inline(value: Any) -> str | None:
    """The value as an expression; None where it has members that deserve their own lines."""
    if isinstance(value, _SCALARS):
        if type(value) not in _SCALARS:
            raise TypeError(f"an IR holds no {type(value).__name__}: {value!r}")
        return repr(value)
    if is_dataclass(value):
        return _joined(f"{type(value).__name__}(", [(f"{f.name}=", getattr(value, f.name)) for f in fields(value)], ")")
    if isinstance(value, Mapping):
        members = [(f"{_key(key)}: ", each) for key, each in value.items()]
        return None if any(map(is_dataclass, value.values())) else _joined("{", members, "}")
    if type(value) not in (tuple, list) or any(map(is_dataclass, value)):
        return None
    if type(value) is list:
        return _joined("[", [("", each) for each in value], "]")
    return _joined("(", [("", each) for each in value], ",)" if len(value) == 1 else ")")


def _joined(start: str, members: list[tuple[str, Any]], end: str) -> str | None:
    texts = [(prefix, _inline(value)) for prefix, value in members]
    if any(text is None for _, text in texts):
        return None
    return start + ", ".join(f"{prefix}{text}" for prefix, text in texts) + end


# ----------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class _Line:
    """One line that says something."""

    number: int
    depth: int
    text: str

    @staticmethod
    def of(number: int, line: str) -> _Line:
        text = line.lstrip(" ")
        made = _Line(number, (len(line) - len(text)) // 2, text)
        if (len(line) - len(text)) % 2:
            raise made.error("is indented by an odd number of blanks")
        return made

    def error(self, problem: str) -> IrTextError:
        shown = self.text if len(self.text) <= 60 else f"{self.text[:57]}..."
        return IrTextError(f"line {self.number}: `{shown}` {problem}")


class _Reader:
    """Walks the lines once. `position` is the line that comes next."""

    def __init__(self, lines: tuple[_Line, ...]) -> None:
        self.lines = lines
        self.position = 1

    def value(self, line: _Line, text: str) -> Any:
        """The value that `text`, the end of a line, is or begins."""
        if text == "mapping":
            return {_read(line, key): value for key, value in self.members(line, _KEY)}
        if text in ("tuple", "list"):
            items = [item for count, item in self.members(line, _ITEM) for _ in range(int(count or 1))]
            return tuple(items) if text == "tuple" else items
        if text in classes():
            return _build(line, text, dict(self.members(line, _FIELD)))
        return _read(line, text)

    def members(self, head: _Line, form: re.Pattern[str]) -> Iterator[tuple[Any, Any]]:
        """What each line below a head begins with, and its value."""
        while self.position < len(self.lines) and self.lines[self.position].depth > head.depth:
            line = self.lines[self.position]
            match = form.fullmatch(line.text)
            if line.depth != head.depth + 1:
                raise line.error(f"is indented too deeply to belong to line {head.number}")
            if match is None:
                raise line.error(f"is no member of `{head.text}`")
            self.position += 1
            yield match[1], self.value(line, match[2])


def _read(line: _Line, text: str) -> Any:
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise line.error("is not the text of an IR value") from None
    return _evaluate(line, tree)


def _evaluate(line: _Line, node: ast.expr) -> Any:
    """Literals, and calls of the package's dataclasses; nothing else, so that reading runs no code."""

    def each(nodes: list[ast.expr]) -> list[Any]:
        return [_evaluate(line, child) for child in nodes]

    match node:
        case ast.Constant(value=value) if isinstance(value, _SCALARS):
            return value
        case ast.Tuple(elts=items):
            return tuple(each(items))
        case ast.List(elts=items):
            return each(items)
        case ast.Dict(keys=keys, values=values):
            return dict(zip(each([key for key in keys if key]), each(values), strict=True))
        case ast.Name(id=name) if name in _NAMED:
            return _NAMED[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name() as operand):
            return -_evaluate(line, operand)
        case ast.Call(func=ast.Name(id="Fraction"), args=parts, keywords=[]):
            return _call(line, Fraction, each(parts), {})
        case ast.Call(func=ast.Name(id=name), args=[], keywords=words) if name in classes():
            return _build(line, name, {word.arg: _evaluate(line, word.value) for word in words})
    raise line.error("is not the text of an IR value")


def _build(line: _Line, name: str, values: dict[Any, Any]) -> Any:
    made = classes()[name]
    known = [field.name for field in fields(made)]
    wrong = [f"has no field `{field}`" for field in values if field not in known]
    wrong += [f"needs `{field}`" for field in known if field not in values]
    if wrong:
        raise line.error(f"is no {name}: it {wrong[0]}")
    return _call(line, made, [], values)


def _call(line: _Line, made: Callable[..., Any], parts: list[Any], words: dict[str, Any]) -> Any:
    try:
        return made(*parts, **words)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise line.error(f"cannot be read: {error}") from None
