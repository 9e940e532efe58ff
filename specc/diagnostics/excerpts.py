"""Lines of a file with marks under them: in cells of a terminal, cut around the marks where a line is long."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from itertools import groupby

from specc.diagnostics.diagnostic import Label

Paint = Callable[[str], str]

_WIDEST = 110
"""Cells of a line that are shown."""
_BEFORE = 30
"""Cells before the first mark where a line is cut."""
_CUT = "..."
_TAB = 2
# Characters that one cell may be made of before a line is taken for one that is too long.
_LONGEST_SIGN = 4
_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
# Marks that turn the order of a line around, or move the cursor, would put carets under other words than they mean.
_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HIDDEN = "\ufffd"


def excerpt(labels: list[Label], lines: list[str], width: int, paint: Paint) -> Iterator[str]:
    """The labelled lines of one file below each other, `...` for what is left out between them."""
    yield f"{' ' * width} |"
    before = None
    for number, group in groupby(sorted(labels, key=lambda label: label.span), key=lambda label: label.span.line):
        if before is not None and number > before + 1:
            yield "..."
        before = number
        line = lines[number - 1] if number <= len(lines) else ""
        for part in _parts(list(group), line):
            quoted, marks = _quote(part, line)
            yield f"{number:>{width}} | {quoted}".rstrip()
            for row in _rows(marks, paint):
                yield f"{' ' * width} | {row}"


def plain(text: str) -> str:
    """A text on one line, without characters that a terminal would obey."""
    return "".join(_plain(character) for character in text)


def cells(text: str) -> int:
    """How many cells of a terminal a text takes (Unicode Standard Annex 11; what joins an emoji takes none)."""
    return sum(_widths(text))


def _widths(text: str) -> Iterator[int]:
    before = ""
    for character in text:
        joined = before == _JOINER or (before and ord(character) in _SKIN_TONES)
        before = character
        if joined or unicodedata.category(character) in ("Mn", "Me", "Cf"):
            yield 0
        else:
            yield 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _plain(character: str) -> str:
    if character in _TURNING or 0xD800 <= ord(character) <= 0xDFFF:
        return _HIDDEN
    if character.isprintable() or character == _JOINER or unicodedata.category(character) == "Cf":
        return character
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode("ascii")


def _shown(text: str) -> str:
    """A stretch of a line as it is quoted: a tab as blanks, and one sign for a character that is none."""
    shown = (_plain(character) for character in text)
    blanks = " " * _TAB
    return "".join(
        blanks if character == "\t" else sign if len(sign) == 1 else _HIDDEN
        for character, sign in zip(text, shown, strict=True)
    )


def _bounded(text: str, most: int) -> int:
    """Cells of a stretch as it is quoted, counted little further than `most`: a line may have a million characters."""
    return cells(_shown(text[: _LONGEST_SIGN * (most + 1)]))


def _fits(text: str, most: int) -> bool:
    return _bounded(text, most) <= most


def _parts(labels: list[Label], line: str) -> Iterator[list[Label]]:
    """Labels of one line in groups that fit beside each other; all in one where the line is short."""
    if _fits(line, _WIDEST):
        yield labels
        return
    part: list[Label] = []
    for label in labels:
        if part and not _fits(line[part[0].span.column - 1 : _end(label, line)], _WIDEST - 2 * _BEFORE):
            yield part
            part = []
        part.append(label)
    yield part


_Mark = tuple[int, int, Label]


def _quote(labels: list[Label], line: str) -> tuple[str, list[_Mark]]:
    """The line, cut around its labels, and where each label begins and ends in it, in cells."""
    first = min(label.span.column for label in labels) - 1
    start, head = 0, ""
    if not _fits(line, _WIDEST) and not _fits(line[:first], _BEFORE):
        room = _WIDEST - len(_CUT) - _bounded(line[first:], _WIDEST)
        start, head = _back(line, first, max(_BEFORE, room)), _CUT
    quoted, used = head, len(head)
    for character in line[start:]:
        used += cells(_shown(character))
        if used > _WIDEST:
            quoted += _CUT
            break
        quoted += _shown(character)

    def cell(index: int) -> int:
        return len(head) + _bounded(line[start:index], _WIDEST) + max(0, index - len(line))

    marks = [(cell(label.span.column - 1), cell(_end(label, line)), label) for label in labels]
    return quoted, [(a, min(max(b, a + 1), _WIDEST + 1), label) for a, b, label in marks]


def _back(line: str, index: int, before: int) -> int:
    """Some cells before an index, and not between a letter and its accent."""
    start = max(0, index - before)
    while start > 0 and cells(line[start]) == 0:
        start -= 1
    return start


def _rows(marks: list[_Mark], paint: Paint) -> Iterator[str]:
    """One row of marks with the text of the last one, then a row for each other text, from right to left."""
    row = [" "] * max(end for _, end, _ in marks)
    # The primary one last: where two overlap, its mark is seen.
    for start, end, label in sorted(marks, key=lambda mark: mark[2].primary):
        row[start:end] = ("^" if label.primary else "-") * (end - start)
    # Of two on one place, the primary one speaks first.
    *others, last = sorted(marks, key=lambda mark: (mark[0], mark[2].primary))
    text = plain(last[2].text)
    yield paint("".join(row)) + (f" {paint(text)}" if text else "")
    for start, _, label in reversed(others):
        if label.text:
            yield " " * start + plain(label.text)


def _end(label: Label, line: str) -> int:
    """Where a label ends on the line that it begins on."""
    span = label.span
    end = span.end_column - 1 if span.end_line == span.line else len(line.rstrip())
    return max(end, span.column)
