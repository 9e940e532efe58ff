"""Marks stand under the words that they mean, whatever the line holds."""

from __future__ import annotations

import json

import pytest

from specc.diagnostics import Diagnostic, Label, Span
from specc.diagnostics.render import render


def shown(text: str, *labels: tuple[int, int, int, str]) -> list[str]:
    made = tuple(
        Label(Span("a", line, start, line, end), words, primary=index == 0)
        for index, (line, start, end, words) in enumerate(labels)
    )
    return render((Diagnostic("SPC000", "error", "h", made),), {"a": text}, "full").splitlines()[3:]


@pytest.mark.parametrize(
    ("text", "start", "end", "quoted", "marks"),
    [
        # Widths by hand: an ideograph takes two cells, a combining accent none, a family of three one emoji's two.
        ("名前: 日本", 5, 7, "名前: 日本", "      ^^^^"),
        ("e\u0301: x", 5, 6, "e\u0301: x", "   ^"),
        ("👩\u200d👩\u200d👧: x", 8, 9, "👩\u200d👩\u200d👧: x", "    ^"),
        ("\ta: x", 5, 6, "  a: x", "     ^"),
        ("a: \u202ex", 5, 6, "a: \ufffdx", "    ^"),
        ("a: \x1bx", 5, 6, "a: \ufffdx", "    ^"),
        ("a: x\r", 4, 5, "a: x", "   ^"),
    ],
)
def test_a_caret_stands_under_its_cell(text: str, start: int, end: int, quoted: str, marks: str) -> None:
    assert shown(text, (1, start, end, "")) == [f"1 | {quoted}", f"  | {marks}"]


def test_a_long_line_is_cut_around_its_labels() -> None:
    text = "x: {" + ", ".join(f"k{index}: {index}" for index in range(600)) + "}"
    far, near = text.index("k500:") + 1, text.index("k3:") + 1
    lines = shown(text, (1, far, far + 4, "here"), (1, near, near + 2, "there"))
    assert all(len(line) < 130 for line in lines)
    for quoted, marks, key, words in (*((lines[0], lines[1], "k3", "there"), (lines[2], lines[3], "k500", "here")),):
        start = quoted.index(f"{key}:")
        assert marks[start:].split() == [("^" if key == "k500" else "-") * len(key), words]


def test_two_labels_on_one_place_are_both_said_the_primary_first() -> None:
    assert shown("a: 1", (1, 4, 5, "one"), (1, 4, 5, "two")) == ["1 | a: 1", "  |    ^ one", "  |    two"]


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    told = Diagnostic("SPC000", "error", "no `\x1b[31m\n`", help="\x07")
    assert "\x1b" not in render((told,), {}, "full") + render((told,), {}, "concise")
    assert render((told,), {}, "concise") == "spec: error[SPC000]: no `\\x1b[31m\\n`"


def test_githubs_form_escapes_what_it_must_and_names_no_virtual_file() -> None:
    label = Label(Span("a,b:c.yaml", 2, 3, 2, 5), primary=True)
    told = Diagnostic("SPC000", "note", "100% so", (label,), ("why",), "use 5")
    place = "file=a%2Cb%3Ac.yaml,line=2,col=3,endLine=2,endColumn=5,title=SPC000"
    assert render((told,), {}, "github") == f"::notice {place}::100%25 so%0Anote: why%0Ahelp: use 5"
    virtual = Diagnostic("SPC000", "error", "h", (Label(Span("--set a=1", 1, 1, 1, 2), primary=True),))
    assert render((virtual,), {}, "github") == "::error title=SPC000::h"


def test_json_holds_any_text() -> None:
    told = Diagnostic("SPC000", "error", "名 \u202e \x1b")
    assert json.loads(render((told,), {}, "json"))[0]["headline"] == told.headline
