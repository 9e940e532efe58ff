"""Whatever stands at a key of a spec, `check` answers with diagnostics: it never raises, and a slip is one mistake."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from specc.diagnostics.diagnostic import Path as SpecPath
from specc.driver import Outcome, check
from specc.source import read
from specc.source.tree import Mapping, Node, Sequence, to_data
from specc.spec import language
from tests.conftest import ROOT

SPECS = ("quickstart", "70b_alibi")
VALUES = ("null", "x", "[]", "{}", "0", "-1", ".inf", "1e30", "true", "[1]", "{a: 1}")


@dataclass
class Clock:
    """The slowest check of a test."""

    seconds: float = 0.0
    what: str = ""

    def check(self, file: Path, what: str, sets: tuple[str, ...] = ()) -> Outcome:
        start = time.perf_counter()
        try:
            outcome = check(file, sets)
        except Exception as error:
            raise AssertionError(f"{what} raised {type(error).__name__}: {error}") from error
        spent = time.perf_counter() - start
        if spent > self.seconds:
            self.seconds, self.what = spent, what
        return outcome


def paths(node: Node, above: SpecPath = ()) -> Iterator[SpecPath]:
    if isinstance(node, Mapping):
        for key, entry in node.entries.items():
            yield (*above, key)
            yield from paths(entry.node, (*above, key))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield (*above, index)
            yield from paths(item, (*above, index))


def renamed(data: Any, path: SpecPath, name: str | None) -> Any:
    """Plain data with the key at a path under another name, or without it."""
    first, rest = path[0], path[1:]
    if isinstance(data, tuple):
        return [renamed(item, rest, name) if index == first else item for index, item in enumerate(data)]
    if rest:
        return {**data, first: renamed(data[first], rest, name)}
    return {(name if key == first else key): value for key, value in data.items() if key != first or name is not None}


@pytest.mark.parametrize("name", SPECS)
def test_any_value_at_any_key_is_answered(name: str) -> None:
    file, clock = ROOT / f"specs/{name}.yaml", Clock()
    for path in paths(read(file).root):
        for value in VALUES:
            override = f"{'.'.join(str(part) for part in path)}={value}"
            outcome = clock.check(file, override, (override,))
            assert outcome.failed == (outcome.plan is None), override
            assert all(found.headline and "``" not in found.headline for found in outcome.diagnostics), override
    print(f"\nslowest: {clock.what}, {clock.seconds:.3f} s")


@pytest.mark.parametrize("name", SPECS)
def test_a_key_left_out_is_answered(name: str, tmp_path: Path) -> None:
    root, clock, file = read(ROOT / f"specs/{name}.yaml").root, Clock(), tmp_path / "spec.yaml"
    for path in paths(root):
        if isinstance(path[-1], str):
            file.write_text(json.dumps(renamed(to_data(root), path, None)), encoding="utf-8")
            clock.check(file, f"without {path}")
    print(f"\nslowest: {clock.what}, {clock.seconds:.3f} s")


@pytest.mark.parametrize("name", SPECS)
def test_a_misspelt_key_is_one_mistake(name: str, tmp_path: Path) -> None:
    root, clock, file = read(ROOT / f"specs/{name}.yaml").root, Clock(), tmp_path / "spec.yaml"
    for path in paths(root):
        key = path[-1]
        # Names that the user chooses have no spelling.
        if not isinstance(key, str) or key not in language.keys(path[:-1], root):
            continue
        file.write_text(json.dumps(renamed(to_data(root), path, key[:-1])), encoding="utf-8")
        outcome = clock.check(file, f"{path} without its last letter")
        errors = [found for found in outcome.diagnostics if found.severity == "error"]
        assert len(errors) == 1, (path, [found.headline for found in errors])
        assert errors[0].code == "SPC003"
        assert f"`{key[:-1]}`" in errors[0].headline
        assert errors[0].help == f"did you mean `{key}`?", path
    print(f"\nslowest: {clock.what}, {clock.seconds:.3f} s")
