"""The language as a whole: every field is described and classed, and mistakes are answered once, at their place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from specc.spec.base import Node
from specc.spec.language import _all_sections, fields
from specc.spec.spec import Spec
from specc.spec.synonyms import SYNONYMS
from tests.conftest import ROOT, Specc


def sections(model: type[BaseModel] = Spec) -> Iterator[type[BaseModel]]:
    yield model
    for below in _all_sections(model).values():
        for part in below:
            yield from sections(part)


SECTIONS = sorted(set(sections()), key=lambda model: model.__qualname__)


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_every_field_is_described_and_classed(model: type[BaseModel]) -> None:
    assert issubclass(model, Node)
    assert model.__doc__
    for key, info in fields(model).items():
        assert info.description, key
        extra = info.json_schema_extra
        assert isinstance(extra, dict), key
        assert extra["effect"] in ("identity", "numerics", "execution", "annotation", "section"), key


def test_every_synonym_names_a_key_of_ours_and_is_none_itself() -> None:
    keys = {key for model in SECTIONS for key in fields(model)}
    assert set(SYNONYMS.values()) <= keys
    same_word_elsewhere = {"batch_size"}  # a key of evaluation stages, and not of training stages
    assert not (set(SYNONYMS) - same_word_elsewhere) & keys


MISTAKES = {
    "model.hiden_size=4": ("SPC003", "model.hiden_size=4", 1, "did you mean `hidden_size`?"),
    "model.position.kind=ropee": ("SPC006", "ropee", 21, "did you mean `rope`?"),
    "stages.pretrain.duration=2000": ("SPC008", "2000", 26, "write `2000 tokens`"),
    "model.attention.num_kv_heads=3": ("SPC102", "3", 30, "use 2 or 4"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_shown_with_line_column_caret_and_help(mistake: str, specc: Specc) -> None:
    code, marked, column, help_text = MISTAKES[mistake]
    said = specc("check", str(ROOT / "specs/presets/tiny.yaml"), "--set", mistake)
    assert said.code == 1
    assert said.err.count("error[") == 1, said.err
    lines = said.err.splitlines()
    assert lines[0].startswith(f"error[{code}]: ")
    assert lines[1].endswith(f"--set {mistake}:1:{column}")
    caret = next(line for line in lines if "^" in line)
    quoted = lines[lines.index(caret) - 1]
    start = caret.index("^")
    length = len(caret.rstrip().rpartition("^")[0]) + 1 - start
    assert quoted[start : start + length] == marked.partition("=")[0] or quoted[start : start + length] == mistake
    assert f"= help: {help_text}" in said.err
    assert "Traceback" not in said.err


def test_all_errors_come_in_one_pass(specc: Specc, tmp_path: Path) -> None:
    broken = "sead: 1\nmodel: {num_layers: x, norm: {kind: rmsnrm}}\nstages: {pretrain: {lr: 1}}\n"
    text = f"extends: presets/tiny.yaml\n{broken}"
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    said = specc("check", "spec.yaml", "--format", "concise")
    assert sorted(line.split("[")[1][:6] for line in said.out.splitlines()) == ["SPC003", "SPC003", "SPC004", "SPC006"]


def test_a_misspelt_required_key_is_one_mistake(specc: Specc, tmp_path: Path) -> None:
    text = (ROOT / "specs/presets/tiny.yaml").read_text(encoding="utf-8").replace("hidden_size", "hiddensize")
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    said = specc("check", "spec.yaml", "--format", "concise")
    assert len(said.out.splitlines()) == 1
    assert "has no key `hiddensize`" in said.out
