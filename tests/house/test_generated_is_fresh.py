"""`generated/` is what the specs say today, to the byte, wherever it is compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc import driver, manifest
from specc.writing import compare
from tests.conftest import ROOT, Specc

SHOWCASE = ("quickstart", "70b_alibi", "llama3_8b", "gpt2_124m")


@pytest.mark.parametrize("name", SHOWCASE)
def test_the_committed_folder_is_what_the_spec_says(name: str) -> None:
    outcome = driver.check(ROOT / f"specs/{name}.yaml")
    assert outcome.plan is not None
    found = compare(ROOT / "generated" / name, driver.emit(outcome.plan))
    assert not found.stale, f"run `make generated`: {found}"


@pytest.mark.parametrize("name", SHOWCASE)
def test_no_file_lies_beside_those_of_the_manifest(name: str) -> None:
    folder = ROOT / "generated" / name
    there = {
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert there == {*manifest.read(folder).files, manifest.FILE}


def test_two_compiles_in_different_folders_give_the_same_bytes(specc: Specc, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    spec = (ROOT / "specs/70b_alibi.yaml").read_text(encoding="utf-8")
    (tmp_path / "elsewhere/copy.yaml").write_text(spec, encoding="utf-8")
    specc("compile", str(ROOT / "specs/70b_alibi.yaml"), "-o", "one")
    specc("compile", "copy.yaml", "-o", "two", cwd=tmp_path / "elsewhere")
    one, two = tmp_path / "one/70b_alibi", tmp_path / "elsewhere/two/70b_alibi"
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
