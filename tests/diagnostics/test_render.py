"""How a diagnostic looks."""

from __future__ import annotations

import json

from specc.diagnostics import Diagnostic, Label, Span
from specc.diagnostics.render import render

TEXT = "model:\n  attention: {kind: gqa, num_heads: 64, num_kv_heads: 6}\n"
BROKEN = Diagnostic(
    "SPC102",
    "error",
    "64 query heads do not divide among 6 key/value heads",
    (
        Label(Span("a.yaml", 2, 55, 2, 56), "64 / 6 leaves 4", primary=True),
        Label(Span("a.yaml", 2, 37, 2, 39)),
    ),
    help="use 4 or 8",
)


def test_the_full_form_is_that_of_the_design() -> None:
    assert render((BROKEN,), {"a.yaml": TEXT}, "full") == "\n".join(
        (
            "error[SPC102]: 64 query heads do not divide among 6 key/value heads",
            " --> a.yaml:2:55",
            "  |",
            "2 |   attention: {kind: gqa, num_heads: 64, num_kv_heads: 6}",
            "  |                                     --                ^ 64 / 6 leaves 4",
            "  |",
            "  = help: use 4 or 8",
        )
    )


def test_two_texts_on_one_line_stand_below_their_marks() -> None:
    labels = (Label(Span("a.yaml", 1, 1, 1, 6), "here", primary=True), Label(Span("a.yaml", 1, 10, 1, 12), "and there"))
    shown = render((Diagnostic("SPC002", "error", "twice", labels),), {"a.yaml": "first    xx"}, "full")
    assert shown.splitlines()[-2:] == ["  | ^^^^^    -- and there", "  | here"]


def test_the_other_forms_name_place_and_code() -> None:
    assert render((BROKEN,), {}, "concise").startswith("a.yaml:2:55: error[SPC102]: 64 query heads")
    assert render((BROKEN,), {}, "github").startswith(
        "::error file=a.yaml,line=2,col=55,endLine=2,endColumn=56,title=SPC102::64 query heads"
    )
    assert json.loads(render((BROKEN,), {}, "json"))[0]["labels"][0]["span"]["line"] == 2


def test_a_place_beyond_the_file_is_shown_without_a_line() -> None:
    beyond = Diagnostic("SPC001", "error", "cut off", (Label(Span("a.yaml", 9, 1, 9, 2), primary=True),))
    assert "a.yaml:9:1" in render((beyond,), {"a.yaml": "x: 1\n"}, "full")
