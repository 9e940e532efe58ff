"""What YAML's parser refuses, in words for people who never read its grammar."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from specc.diagnostics import Diagnostic, Label, Span

# Everything but the printable characters of YAML 1.2 (chapter 5.1).
FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_QUOTE = "put quotes around a text that holds `: ` or ` #`, or that begins with a mark such as `@` or `*`"
_ALIGN = "keys of one section, and items of one list, begin in the same column"

_At = tuple[int, int]


def say_forbidden(text: str, index: int, file: str, before: int) -> Diagnostic:
    """A character that no YAML file may hold."""
    point = ord(text[index])
    line, column = _line_of(text, index)
    column += before if line == 1 else 0
    what = "half of a surrogate pair" if 0xD800 <= point <= 0xDFFF else "a control character"
    headline = f"U+{point:04X} is {what}, which a spec cannot hold"
    label = Label(Span(file, line, column, line, column + 1), primary=True)
    return Diagnostic("SPC001", "error", headline, (label,))


def say_syntax(error: yaml.YAMLError, file: str, text: str, before: int) -> Diagnostic:
    """What is wrong with the YAML, at the place where a person would mend it."""
    problem = str(getattr(error, "problem", None) or "unexpected text")
    context = str(getattr(error, "context", None) or "")
    marks = [_mark(getattr(error, name, None), text) for name in ("problem_mark", "context_mark")]
    at = marks[0] or marks[1] or (1, 1)
    say = _SAYINGS.get(problem)
    if say is None:
        headline, labels, help_text = f"{problem} {context}".strip(), [(at, "")], None
    else:
        headline, labels, help_text = say(_Where(_lines(text), at, marks[1] or at))
    if "${" in text and "flow" in context:
        help_text = "put quotes around a text with `${...}`: its brace opens a mapping"
    spans = [(_span(file, place, before), words) for place, words in labels]
    shown = tuple(Label(span, words, primary=index == 0) for index, (span, words) in enumerate(dict(spans).items()))
    return Diagnostic("SPC001", "error", f"this is not YAML: {headline}", shown, help=help_text)


@dataclass(frozen=True)
class _Where:
    """Where the parser gave up, and where what it was reading begins."""

    lines: list[str]
    at: _At
    start: _At

    @property
    def line(self) -> str:
        return self.lines[self.at[0] - 1] if self.at[0] <= len(self.lines) else ""


_Said = tuple[str, list[tuple[_At, str]], str | None]


def _colon(where: _Where) -> _Said:
    line = where.line
    if ":" in line[: where.at[1] - 1]:
        return "a second `:` on this line", [(where.at, "")], _QUOTE
    return "a key where none can stand", [(where.at, "")], _ALIGN


def _no_colon(where: _Where) -> _Said:
    return "a key without a colon after it", [(where.start, "expected `:` after this word")], "write `key: value`"


def _token(where: _Where) -> _Said:
    line = where.line
    mark = line[where.at[1] - 1 : where.at[1]]
    if mark == "\t" or "\t" in line[: len(line) - len(line.lstrip())]:
        return _tab(where)
    return f"no value begins with `{mark}`", [(where.at, "")], "put quotes around it"


def _tab(where: _Where) -> _Said:
    return "a tab indents this line", [(where.at, "")], "indent with spaces"


def _open(what: str, close: str) -> Callable[[_Where], _Said]:
    def say(where: _Where) -> _Said:
        labels = [(where.at, f"expected `,` or `{close}`"), (where.start, f"the {what} begins here")]
        return f"the {what} is not closed", labels, None

    return say


def _quote(where: _Where) -> _Said:
    return "the quotation mark is never closed", [(where.start, "it opens here")], None


def _indent(what: str) -> Callable[[_Where], _Said]:
    def say(where: _Where) -> _Said:
        return f"expected {what} here", [(where.at, ""), (where.start, "as the one that begins here")], _ALIGN

    return say


def _version(where: _Where) -> _Said:
    return "no YAML has this version", [(where.at, "")], "leave the line out"


def _document(where: _Where) -> _Said:
    return "text after the end of the document, or before its beginning", [(where.at, "")], "a spec is one document"


def _content(where: _Where) -> _Said:
    return "expected a value here", [(where.at, "")], None


def _escape(where: _Where) -> _Said:
    return "there is no such escape", [(where.at, "")], "use 'single quotes', in which a backslash is a backslash"


# The words of libyaml (scanner.c, parser.c).
_SAYINGS: dict[str, Callable[[_Where], _Said]] = {
    "mapping values are not allowed in this context": _colon,
    "could not find expected ':'": _no_colon,
    "found character that cannot start any token": _token,
    "found a tab character that violates indentation": _tab,
    "found a tab character where an indentation space is expected": _tab,
    "did not find expected ',' or ']'": _open("list", "]"),
    "did not find expected ',' or '}'": _open("mapping", "}"),
    "found unexpected end of stream": _quote,
    "did not find expected key": _indent("a key"),
    "did not find expected '-' indicator": _indent("an item"),
    "found incompatible YAML document": _version,
    "did not find expected <document start>": _document,
    "did not find expected node content": _content,
    "found unknown escape character": _escape,
    "found invalid Unicode character escape code": _escape,
}


def _mark(mark: Any, text: str) -> _At | None:
    """Line and column from 1. A mistake noticed only at the end of a text stands behind its last word."""
    if mark is None:
        return None
    lines = _lines(text)
    if mark.line < len(lines) and (lines[mark.line] or mark.line == 0):
        return mark.line + 1, mark.column + 1
    written = max((index for index, line in enumerate(lines[: mark.line + 1]) if line.strip()), default=0)
    return written + 1, len(lines[written].rstrip()) + 1


def _lines(text: str) -> list[str]:
    return _BREAK.split(text)


def _line_of(text: str, index: int) -> _At:
    above = _lines(text[:index])
    return len(above), len(above[-1]) + 1


def _span(file: str, at: _At, before: int) -> Span:
    line, column = at[0], at[1] + (before if at[0] == 1 else 0)
    return Span(file, line, column, line, column + 1)
