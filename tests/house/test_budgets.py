"""The size of things: files up to 400 lines, functions up to 40, nesting up to 3."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILE, FUNCTION, NESTING = 400, 40, 3
SOURCES = sorted(p for folder in ("specc", "runners", "tests", "benchmarks") for p in (ROOT / folder).rglob("*.py"))
BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def nesting(node: ast.AST) -> int:
    """Depth of blocks inside blocks; a function inside starts again, an `elif` goes no deeper."""
    deepest = 0
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.FunctionDef | ast.ClassDef):
                continue
            chained = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If)
            deeper = int(isinstance(child, BLOCKS) and not chained)
            deepest = max(deepest, deeper + nesting(child))
    return deepest


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE
    for function in functions(ast.parse(text)):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= FUNCTION, f"{function.name} has {length} lines"
        assert nesting(function) <= NESTING, f"{function.name} nests {nesting(function)} deep"


def test_no_room_for_leftovers() -> None:
    assert not [path for path in SOURCES if path.stem in ("utils", "helpers", "manager", "misc", "common")]
