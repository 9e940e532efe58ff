"""Templates: text with holes. Decisions are made before, and every value goes through a quoting filter."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from specc import resources
from specc.ir.component import Expression


@cache
def environment() -> Environment:
    """The one environment: an unknown name is an error, and blocks leave no blank lines."""
    env = Environment(
        loader=FileSystemLoader(resources.templates()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Python, Markdown and JSON, quoted by the filters below
    )
    env.filters["python"] = python_literal
    env.filters["markdown"] = markdown_text
    env.filters["line"] = one_line
    env.filters["number"] = number_text
    return env


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of one template."""
    return environment().get_template(template).render(values)


def macros(template: str, values: Mapping[str, Any]) -> Any:
    """The macros of one template, which see `values`."""
    return environment().get_template(template).make_module(dict(values))


def python_literal(value: Any) -> str:
    """A value as Python source; whole numbers of five digits and more are grouped."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:_}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        inner = ", ".join(python_literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, Expression):
        return value.text
    if value is None or isinstance(value, bool | int | str):
        return repr(value)
    raise TypeError(f"{type(value).__name__} has no literal")


def _float(value: float) -> str:
    """As a person writes it: `5e-5` and `500_000.0`; ValueError for what Python has no literal for."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no literal")
    if value.is_integer() and 10_000 <= abs(value) < 1e15:
        return f"{value:_.1f}"
    return repr(value).replace("e-0", "e-")


def markdown_text(value: Any) -> str:
    """Text of a user in Markdown: one line, every character that could be markup escaped."""
    return re.sub(r"([\\`*_{}\[\]<>()#!|~])", r"\\\1", " ".join(str(value).split()))


def number_text(value: float) -> str:
    """A number in a sentence, to three digits where it is not whole: `10,000`, `8` and `17.4`."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}"


def one_line(value: Any) -> str:
    """Text for a comment, a docstring or Markdown: no line ends, no quotes that could close it, no escapes."""
    text = " ".join(str(value).split())
    return text.replace("\\", "/").replace('"""', "'''").replace("`", "'").replace("<", "(").replace(">", ")")
