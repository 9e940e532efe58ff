"""Every key of the language, got wrong in every way that one letter or one type can be wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specc.diagnostics import Diagnostic
from specc.diagnostics.near import distance
from specc.source import SpecErrors, read
from specc.spec.language import fields
from specc.spec.parse import parse
from tests.spec.every_key import Section, sections, takes

SECTIONS = sections()
WRONG: dict[type, Any] = {
    dict: {"zz": {"zz": 1}},
    list: [[["zz"]]],
    str: "no such: word, surely",
    bool: True,
    int: 3,
    float: 0.123,
}


def said(data: Any, folder: Path) -> tuple[Diagnostic, ...]:
    """What is said about a spec with every key on a line of its own."""
    file = folder / "spec.yaml"
    file.write_text(json.dumps(data, indent=1), encoding="utf-8")
    try:
        parse(read(file))
    except SpecErrors as errors:
        return errors.diagnostics
    return ()


def line_of(section: Section, key: str, *without: str) -> int:
    """The line on which a key of a section stands, found by a value that stands nowhere else."""
    text = json.dumps(section.with_keys({key: "@here@"}, without), indent=1)
    return text[: text.index("@here@")].count("\n") + 1


def slips(word: str, known: set[str]) -> Iterator[str]:
    """A letter left out, doubled, replaced, or exchanged with the next one."""
    found = set()
    for index, letter in enumerate(word):
        other = "q" if letter != "q" else "x"
        found |= {
            word[:index] + word[index + 1 :],
            word[:index] + letter + word[index:],
            word[:index] + other + word[index + 1 :],
            word[:index] + word[index + 1 : index + 2] + letter + word[index + 2 :],
        }
    yield from sorted(found - known - {word})


def test_every_section_of_the_language_can_be_written_down(tmp_path: Path) -> None:
    for section in SECTIONS:
        assert not said(section.spec, tmp_path), section.name


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_a_slip_in_any_key_is_reported_at_its_line_with_the_key_that_was_meant(
    section: Section, tmp_path: Path
) -> None:
    known = set(fields(section.model))
    for key in known:
        value = section.here(section.spec).get(key, 1)
        for slip in slips(key, known):
            data = section.with_keys({slip: value}, without=(key,))
            (found,) = said(data, tmp_path)
            assert found.code == "SPC003", (slip, found)
            # `intr_node_bandwidth` is as near to `intra_` as to `inter_`: either is right, nothing farther is.
            meant = str(found.help).removeprefix("did you mean `").removesuffix("`?")
            assert meant == key or (meant in known and distance(slip, meant) == distance(slip, key)), (slip, found)
            assert found.primary is not None
            assert found.primary.span.line == line_of(section, slip, key)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_any_value_of_another_type_is_refused_where_it_stands(section: Section, tmp_path: Path) -> None:
    for key, info in fields(section.model).items():
        for kind, wrong in WRONG.items():
            if kind in takes(info.annotation) or (key == "kind" and kind is str):
                continue
            diagnostics = said(section.with_keys({key: wrong}), tmp_path)
            assert diagnostics, f"{key} takes {wrong!r}"
            places = [found.primary.span.line for found in diagnostics if found.primary]
            # A wrong value has one line, a section that lacks its keys has the lines below its own.
            assert min(places) == line_of(section, key), (key, wrong, diagnostics)
            assert len(diagnostics) == 1 or kind is dict, (key, wrong, diagnostics)
