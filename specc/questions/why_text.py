"""Answers of `why` as text for a terminal, and as plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from textwrap import wrap
from typing import Any

from specc import ir
from specc.diagnostics import Diagnostic, Label, Span
from specc.diagnostics.render import render as render_diagnostics
from specc.planning.text import duration, gib
from specc.questions.why import Answer
from specc.settings_diff import MEANINGS

_ORIGINS = {
    "spec": "written in the spec",
    "override": "set on the command line",
    "default": "nobody wrote it: the language's default",
    "derived": "nobody wrote it: it follows from other values",
    "planned": "nobody wrote it: the planner's answer",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def render(answer: Answer, known: tuple[Answer, ...], texts: Mapping[str, str], width: int) -> str:
    """The value, what it means, and where it comes from, with the lines that it was written on."""
    effect = f"  ({answer.effect}: {MEANINGS[answer.effect]})" if answer.effect in MEANINGS else ""
    value = spelt(answer.value) if answer.derivation is None else shown(answer.value, _unit(answer))
    lines = [f"{answer.path} = {value}{effect}"]
    lines += _wrapped(answer.meaning, "  ", "  ", width)
    derived = answer.derivation
    if answer.span is None or derived is None:
        lines += ["", f"{_origin(answer)}{'' if answer.span is None else ':'}"]
    if answer.span is not None:
        lines += [""] if derived is not None else []
        lines += ["`auto`, and so derived:"] if derived is not None else []
        lines += _quoted(answer, texts)
    if derived is not None:
        lines += ["", *_derivation(derived, {other.path: other for other in known}, width)]
    return "\n".join(lines)


def render_table(known: tuple[Answer, ...], width: int) -> str:
    """A line a value: path, value, and its origin in a word."""
    paths = min(max(len(answer.path) for answer in known), max(24, width * 3 // 5))
    room = max(8, width - paths - 12)
    lines = []
    for answer in known:
        value = _short(answer)
        value = value if len(value) <= room else f"{value[: room - 3]}..."
        if len(answer.path) > paths:
            lines.append(answer.path)
        path = answer.path if len(answer.path) <= paths else ""
        lines.append(f"{path:<{paths}}  {value:<{room}}  {answer.origin}".rstrip())
    return "\n".join(lines)


def to_record(answer: Answer) -> dict[str, Any]:
    """Plain values, for JSON."""
    derived = answer.derivation
    return {
        "path": answer.path,
        "value": _plain(answer.value),
        "origin": answer.origin,
        "effect": answer.effect,
        "meaning": answer.meaning,
        "at": _place(answer.span),
        "extends": list(answer.chain),
        "replaced": [{"text": each.text, "at": _place(each.span)} for each in answer.replaced],
        "formula": derived.formula if derived else None,
        "inputs": [{"name": i.name, "value": _plain(i.value), "path": i.path} for i in derived.inputs]
        if derived
        else [],
        "reasons": list(derived.reasons) if derived else [],
    }


def spelt(value: Any) -> str:
    """A setting as a person writes it: `1234`, `1.0e-5`, `[0.9, 0.95]`."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(spelt(item) for item in value)}]"
    if isinstance(value, float):
        # Small numbers are rates and tolerances, which people write with an exponent.
        text = repr(value) if not 0 < abs(value) < 1e-3 else _shortest(value)
        mantissa, exponent, power = text.partition("e")
        return f"{mantissa}{'' if '.' in mantissa or not exponent else '.0'}{exponent}{_power(power)}"
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else shown(value)


def shown(value: Any, unit: str = "") -> str:
    """A derived value as a person reads it: `476,838`, `73.1 GiB`."""
    if unit == "bytes":
        return f"{gib(value)} ({value:,} bytes)"
    if unit == "s":
        return f"{duration(value)} ({value:,.6g} s)"
    if unit == "USD":
        return f"${value:,.2f}"
    if isinstance(value, Fraction):
        value = value.numerator if value.denominator == 1 else float(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        text = f"{value:,.10g}" if abs(value) >= 1e-4 or not value else repr(value)
        return f"{text} {unit}".rstrip()
    if isinstance(value, tuple | list):
        return f"[{', '.join(shown(item) for item in value)}]"
    text = str(value)
    return text if text.isprintable() and text == text.strip() and text else repr(text)


def _shortest(value: float) -> str:
    """With an exponent, and as few digits as tell it from every other: `1e-04`."""
    return next(text for digits in range(18) if float(text := f"{value:.{digits}e}") == value)


def _power(power: str) -> str:
    """`-05` as `-5`."""
    return f"{int(power):+}" if power else ""


def _short(answer: Answer) -> str:
    """A value where there is little room."""
    value, unit = answer.value, _unit(answer)
    if answer.derivation is None:
        return spelt(value)
    if unit in ("bytes", "s"):
        return gib(value) if unit == "bytes" else duration(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) >= 10**15):
        return f"${value:,.0f}" if unit == "USD" else f"{value:.6g} {unit}".rstrip()
    return shown(value, unit)


def _unit(answer: Answer) -> str:
    return answer.derivation.unit if answer.derivation else ""


def _origin(answer: Answer) -> str:
    if answer.origin == "preset":
        return f"written in a preset: {' -> '.join(answer.chain)}"
    return _ORIGINS[answer.origin]


def _quoted(answer: Answer, texts: Mapping[str, str]) -> list[str]:
    """The line of the value and those of the values that it replaced, as diagnostics quote them."""
    assert answer.span is not None
    labels = [Label(answer.span, "" if not answer.replaced else "this counts", primary=True)]
    labels += [Label(each.span, f"replaced: {_cut(each.text)}") for each in answer.replaced]
    diagnostic = Diagnostic("", "note", "", tuple(labels))
    return render_diagnostics((diagnostic,), texts, "full").splitlines()[1:]


def _derivation(derived: ir.Derivation, known: Mapping[str, Answer], width: int) -> list[str]:
    lines = [line for reason in derived.reasons for line in _wrapped(reason, "  ", "    ", width)]
    if derived.formula is not None:
        values = {each.name: _number(each.value, _money(each, known)) for each in derived.inputs}
        name = derived.path.rpartition(".")[2]
        margin = " " * (len(name) + 5)
        numbers = _NAME.sub(lambda m: values.get(m[0], m[0]), derived.formula)
        lines += _wrapped(derived.formula, f"  {name} = ", margin, width)
        lines += _wrapped(numbers, f"  {' ' * len(name)} = ", margin, width)
    if derived.inputs:
        lines += ["", *(f"  {line}" for line in _inputs(derived.inputs, known))]
    return lines


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    return wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _inputs(inputs: tuple[ir.Input, ...], known: Mapping[str, Answer]) -> list[str]:
    rows = [(each.name, _input_value(each, known), _where(each, known)) for each in inputs]
    names, values = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    return [f"{name:<{names}}  {value:<{values}}  {where}".rstrip() for name, value, where in rows]


def _input_value(each: ir.Input, known: Mapping[str, Answer]) -> str:
    """As it was written, where it was."""
    answer = known.get(each.path or "")
    if answer is not None and answer.derivation is None:
        return spelt(answer.value)
    return _number(each.value, _money(each, known))


def _money(each: ir.Input, known: Mapping[str, Answer]) -> bool:
    """Whether an input is an amount of dollars."""
    answer = known.get(each.path or "")
    return answer is not None and _unit(answer) == "USD"


def _where(each: ir.Input, known: Mapping[str, Answer]) -> str:
    answer = known.get(each.path or "")
    if answer is None:
        return ""
    if answer.span is not None:
        place = "--set" if answer.origin == "override" else f"{answer.span.file}:{answer.span.line}"
        return f"{answer.path}, {place}"
    return f"{answer.path}, {answer.origin}"


def _number(value: Any, money: bool = False) -> str:
    if money and value is not None:
        return f"${value:,.2f}" if value < 1000 else f"${value:,.0f}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e6 <= abs(value) < 1e15 else f"{value:,.6g}"
    return shown(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return list(value) if isinstance(value, tuple) else value


def _place(span: Span | None) -> dict[str, Any] | None:
    return None if span is None else {"file": span.file, "line": span.line, "column": span.column}


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
