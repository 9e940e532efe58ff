"""Sweeps on the command line: one index, one folder a variant, and nothing of an earlier sweep left in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specc import manifest
from tests.conftest import ROOT, Specc

SPEC = "extends: presets/tiny.yaml\nsweep: {grid: {model.num_layers: [1, 2], seed: [3, 4]}}\n"


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return path


def folders(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "generated").iterdir() if path.is_dir())


def test_one_compile_makes_all_variants_and_their_index(specc: Specc, spec: Path, tmp_path: Path) -> None:
    said = specc("compile", "spec.yaml")
    assert said.code == 0, said.err
    assert "generated/tiny.sweep.json written, 4 variants: 4 new" in said.out
    index = manifest.read_sweep(tmp_path / "generated/tiny.sweep.json")
    assert index.sweep == "tiny"
    assert [variant.overrides for variant in index.variants][:2] == [
        {"model.num_layers": 1, "seed": 3},
        {"model.num_layers": 1, "seed": 4},
    ]
    assert sorted(variant.folder for variant in index.variants) == folders(tmp_path)
    for variant in index.variants:
        folder = tmp_path / "generated" / variant.folder
        found = manifest.read(folder)
        assert (found.experiment, found.identity) == (variant.experiment, variant.identity)
        assert manifest.changed_files(folder, found) == ()
        assert manifest.digest((folder / manifest.FILE).read_text(encoding="utf-8")) == variant.manifest


def test_a_variant_has_the_bytes_that_it_has_alone(specc: Specc, spec: Path, tmp_path: Path) -> None:
    specc("compile", "spec.yaml")
    alone = specc("compile", "spec.yaml", "--variant", "num_layers=1+seed=4", "-o", "alone")
    assert "alone/tiny@num_layers=1+seed=4 written" in alone.out
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["tiny@num_layers=1+seed=4"]
    files = [path for path in (tmp_path / "alone").rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert file.read_bytes() == (tmp_path / "generated" / file.relative_to(tmp_path / "alone")).read_bytes()


def test_check_tells_a_fresh_sweep_from_a_stale_one(specc: Specc, spec: Path, tmp_path: Path) -> None:
    assert specc("compile", "spec.yaml", "--check").code == 3
    assert not (tmp_path / "generated").exists()
    specc("compile", "spec.yaml")
    assert specc("compile", "spec.yaml", "--check").code == 0
    spec.write_text(SPEC.replace("[3, 4]", "[4]"), encoding="utf-8")
    said = specc("compile", "spec.yaml", "--check")
    assert said.code == 3
    assert "- tiny@num_layers=1+seed=3, of an earlier sweep" in said.out
    assert len(folders(tmp_path)) == 4


def test_variants_of_an_earlier_sweep_go_and_are_named(specc: Specc, spec: Path, tmp_path: Path) -> None:
    specc("compile", "spec.yaml")
    spec.write_text(SPEC.replace("[3, 4]", "[4, 5]"), encoding="utf-8")
    said = specc("compile", "spec.yaml")
    assert "4 variants: 2 new, 0 changed, 2 removed, 2 unchanged" in said.out
    assert folders(tmp_path) == [f"tiny@num_layers={n}+seed={s}" for n in (1, 2) for s in (4, 5)]


def test_an_edited_variant_is_neither_overwritten_nor_removed_unasked(specc: Specc, spec: Path, tmp_path: Path) -> None:
    specc("compile", "spec.yaml")
    edited = tmp_path / "generated/tiny@num_layers=1+seed=3/model.py"
    edited.write_text(edited.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    spec.write_text(SPEC.replace("[3, 4]", "[4, 5]"), encoding="utf-8")
    before = folders(tmp_path)
    refused = specc("compile", "spec.yaml")
    assert refused.code == 1
    assert "model.py was edited after it was generated" in refused.err
    assert folders(tmp_path) == before, "nothing is written where an edit would be lost"
    assert specc("compile", "spec.yaml", "--force").code == 0
    assert not edited.parent.exists()


def test_a_sweep_that_is_gone_is_said_and_stays(specc: Specc, spec: Path, tmp_path: Path) -> None:
    specc("compile", "spec.yaml")
    said = specc("compile", "spec.yaml", "--set", "sweep={}")
    assert "generated/tiny.sweep.json is of an earlier sweep; its variants stay as they are" in said.err
    assert len(folders(tmp_path)) == 5


def test_a_file_of_somebody_else_keeps_its_folder(specc: Specc, spec: Path, tmp_path: Path) -> None:
    specc("compile", "spec.yaml")
    note = tmp_path / "generated/tiny@num_layers=1+seed=3/notes.txt"
    note.write_text("mine", encoding="utf-8")
    spec.write_text(SPEC.replace("[3, 4]", "[4]"), encoding="utf-8")
    assert specc("compile", "spec.yaml").code == 0
    assert [path.name for path in note.parent.iterdir()] == ["notes.txt"]


def test_an_index_that_names_a_folder_elsewhere_is_not_followed(specc: Specc, spec: Path, tmp_path: Path) -> None:
    specc("compile", "spec.yaml")
    index = tmp_path / "generated/tiny.sweep.json"
    raw = json.loads(index.read_text(encoding="utf-8"))
    raw["variants"][0]["folder"] = "../precious"
    index.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ValueError, match="not beside it"):
        manifest.read_sweep(index)
    (tmp_path / "precious").mkdir()
    assert specc("compile", "spec.yaml").code == 0
    assert (tmp_path / "precious").exists()


def test_plan_is_a_table_and_of_one_variant_the_whole_plan(specc: Specc, spec: Path) -> None:
    table = specc("plan", "spec.yaml").out.splitlines()
    assert table[0] == "tiny: 4 variants on 1 x two-core CPU"
    assert [line.split()[0] for line in table[3:7]] == [f"num_layers={n}+seed={s}" for n in (1, 2) for s in (3, 4)]
    one = specc("plan", "spec.yaml", "--variant", "tiny@num_layers=2+seed=3").out
    assert one.startswith("tiny@num_layers=2+seed=3 on 1 x")
    assert "layout" in one
    data = json.loads(specc("plan", "spec.yaml", "--json").out)
    assert [plan["experiment"] for plan in data["variants"]][3] == "tiny@num_layers=2+seed=4"


def test_the_shipped_sweep_checks_clean(specc: Specc) -> None:
    said = specc("check", str(ROOT / "specs/sweeps/learning_rate.yaml"))
    assert (said.code, said.err) == (0, "")
    assert "ok, 6 variants; 335,520 to 2,091,072 parameters" in said.out
