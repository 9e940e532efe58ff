"""Templates are text with holes: no arithmetic, no decisions, every value quoted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import nodes

from specc.backends.templates import environment, markdown_text, one_line, python_literal
from tests.conftest import ROOT

TEMPLATES = sorted((ROOT / "templates").rglob("*.j2"))
ARITHMETIC = (nodes.Add, nodes.Sub, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow)


def parsed(path: Path) -> nodes.Template:
    return environment().parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_do_not_calculate(path: Path) -> None:
    assert not list(parsed(path).find_all(ARITHMETIC))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_branches_ask_only_whether_something_is_there(path: Path) -> None:
    for branch in parsed(path).find_all(nodes.If):
        assert isinstance(branch.test, nodes.Name | nodes.Getattr | nodes.Test), "a template decides"


def test_no_template_reads_a_spec_value_as_raw_text() -> None:
    # A spec holds text of users in these places; each must pass a quoting filter on its way into code.
    raw = re.compile(r"{{ *(?:\w+\.)*(sample_prompt|data|partition|account|qos|constraint|description|note) *}}")
    assert not [path.name for path in TEMPLATES if raw.search(path.read_text(encoding="utf-8"))]


def test_python_literals_read_back_equal() -> None:
    import ast

    for value in (0, 12_345, -10_000, 1e-5, 3e-4, 500_000.0, 1e300, "a'b\"\n\\", None, True, (1, "x"), (), ("one",)):
        assert ast.literal_eval(python_literal(value)) == value


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_python_has_no_literal_for_is_never_emitted(value: float) -> None:
    with pytest.raises(ValueError, match="no literal"):
        python_literal(value)


def test_text_in_markdown_is_text() -> None:
    shown = markdown_text("![p](http://x) <b> | a\n# c `d` *e*")
    assert shown == r"\!\[p\]\(http://x\) \<b\> \| a \# c \`d\` \*e\*"


def test_text_for_comments_cannot_close_a_docstring_or_open_markup() -> None:
    hostile = 'end"""\nimport os; os.system("x") <script> `rm` \\'
    shown = one_line(hostile)
    assert '"""' not in shown
    assert "\n" not in shown
    assert "<" not in shown
    assert "\\" not in shown
