"""The reference is what the language says, and holds together."""

from __future__ import annotations

import re

from specc.diagnostics import pages
from specc.reference.markdown import render
from specc.reference.sections import language
from specc.reference.words import scalar, written
from specc.source.reader import parse
from specc.source.tree import to_data
from tests.conftest import ROOT

FOLDER = ROOT / "docs/reference"
FILES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}


def anchors(text: str) -> list[str]:
    """Anchors as GitHub makes them of headings."""
    return [
        re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]


def test_the_committed_pages_are_what_the_language_says() -> None:
    assert render(language()) == FILES, "run `make generated`"


def test_every_link_leads_somewhere() -> None:
    for name, text in FILES.items():
        links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text)
        assert links
        for target, anchor in links:
            if target and not (FOLDER / target).resolve().is_relative_to(FOLDER):
                assert (FOLDER / target).is_file(), f"{name}: {target}"
            elif anchor:
                assert anchors(FILES[target or name]).count(anchor) == 1, f"{name}: {target}#{anchor}"


def test_every_key_of_every_section_has_a_row() -> None:
    rows = "".join(FILES.values())
    for section in language().sections.values():
        for key in section.keys:
            assert f"| `{key.name}`" in rows
            assert key.name == "kind" or key.meaning in rows
        assert section.doc in rows


def test_every_diagnostic_is_listed_with_its_title() -> None:
    for code in pages.codes():
        assert f"{code}.md) | {pages.title(code)} |" in FILES["diagnostics.md"]


def test_tables_line_up_as_plain_text() -> None:
    for text in FILES.values():
        for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
            bars = [[found.start() for found in re.finditer(r"(?<!\\)\|", line)][:-1] for line in table.splitlines()]
            assert all(row == bars[0] for row in bars)


def test_values_are_shown_as_yaml_reads_them() -> None:
    words = ("a b", "The ", "2T tokens", "1e5", "null", "a: b", "x, y", "", "a\n", "12:30", "-", "true")
    for value in (1e-8, 1e-5, 0.1, 5e5, 1e22, 3, True, None, *words):
        assert to_data(parse(f"key: {scalar(value)}", "x")) == {"key": value}
    nested = {"kind": "cosine", "warmup": "3%", "betas": [0.9, 0.95]}
    assert to_data(parse(f"key: {written(nested)}", "x")) == {"key": {**nested, "betas": (0.9, 0.95)}}
