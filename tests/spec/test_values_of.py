"""The plain values of a mapping, against pydantic's own account of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specc.source import read
from specc.spec.base import Node, values_of
from specc.spec.parse import parse
from tests.conftest import ROOT

SPECS = [ROOT / "specs" / name for name in ("70b_alibi.yaml", "gpt2_124m.yaml", "llama3_8b.yaml", "quickstart.yaml")]


def nodes(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
        value = dict(value)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        for item in value:
            yield from nodes(item)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_every_mapping_says_what_pydantic_says_of_it(spec: Path) -> None:
    found = list(nodes(parse(read(spec))))
    assert len(found) > 10
    for node in found:
        assert list(values_of(node).items()) == list(node.model_dump().items())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.stem)
def test_sources_and_filters_are_what_json_makes_of_them(spec: Path) -> None:
    for data in parse(read(spec)).data.values():
        for part in (*data.sources.values(), *data.filters):
            assert values_of(part, list) == part.model_dump(mode="json")
