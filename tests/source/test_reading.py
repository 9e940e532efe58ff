"""Files, presets and overrides become one tree that knows where everything was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.source import SpecErrors, read
from specc.source.overrides import variant
from specc.source.tree import to_data


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / "spec.yaml"


def test_a_preset_lies_below_and_values_keep_their_place(tmp_path: Path) -> None:
    spec = write(tmp_path, base="a: {x: 1, y: 2}\nb: 3\n", spec="extends: base.yaml\na: {y: 5}\n")
    source = read(spec)
    assert to_data(source.root) == {"a": {"x": 1, "y": 5}, "b": 3}
    assert source.span(("a", "x")).file.endswith("base.yaml")
    assert (source.span(("a", "y")).line, source.span(("a", "y")).column) == (2, 8)


def test_later_presets_win_and_any_section_may_extend(tmp_path: Path) -> None:
    spec = write(tmp_path, one="x: 1\ny: 1\n", two="y: 2\n", spec="part: {extends: [one.yaml, two.yaml], z: 3}\n")
    assert to_data(read(spec).root) == {"part": {"x": 1, "y": 2, "z": 3}}


def test_another_kind_replaces_and_the_same_kind_merges(tmp_path: Path) -> None:
    base = "p: {kind: rope, theta: 5}\nq: {kind: rope, theta: 5}\n"
    spec = write(tmp_path, base=base, spec="extends: base.yaml\np: {kind: alibi}\nq: {kind: rope, z: 1}\n")
    assert to_data(read(spec).root) == {"p": {"kind": "alibi"}, "q": {"kind": "rope", "theta": 5, "z": 1}}


def test_a_cycle_names_every_file(tmp_path: Path) -> None:
    spec = write(tmp_path, spec="extends: one.yaml\n", one="extends: two.yaml\n", two="extends: one.yaml\n")
    with pytest.raises(SpecErrors) as caught:
        read(spec)
    (found,) = caught.value.diagnostics
    assert found.code == "SPC009"
    assert found.headline.count("one.yaml") == 2
    assert {Path(label.span.file).name for label in found.labels} == {"one.yaml", "two.yaml"}


def test_overrides_are_files_of_one_line(tmp_path: Path) -> None:
    spec = write(tmp_path, spec="a: {x: 1}\nlist: [1, 2]\n")
    source = read(spec, ("a.x=[7, 8]", "a.new.deep=1e-3", "list.1=9"))
    assert to_data(source.root) == {"a": {"x": (7, 8), "new": {"deep": 1e-3}}, "list": (1, 9)}
    span = source.span(("a", "x"))
    assert (span.file, span.column) == ("--set a.x=[7, 8]", 5)


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (("model.position.kind=rope",), "rope"),
        (("stages.pretrain.optimizer.learning_rate=1e-3",), "learning_rate=1e-3"),
        (("a.kind=x", "b.c=2T tokens"), "x+c=2T_tokens"),
        (("name=../../etc/passwd",), "name=.._.._etc_passwd"),
    ],
)
def test_a_variant_has_a_short_safe_name(sets: tuple[str, ...], name: str) -> None:
    assert variant(sets) == name


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: 1\n\tb: 2",
        "a: !!python/object/apply:os.system [true]",
        "? [1]\n: 2",
        "- 1\n- 2",
        "just text",
        "",
        "a: &x [*x]",
        "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        + "".join(
            f"{c}: &{c} [{','.join(f'*{p}' for _ in range(9))}]\n" for p, c in zip("bcdefgh", "cdefghi", strict=True)
        ),
        "[" * 500,
        "a: 'unfinished",
        "a: 1\n--- \nb: 2",
    ],
)
def test_what_is_no_spec_is_a_diagnostic(text: str, tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        read(write(tmp_path, spec=text))
    assert all(found.code.startswith("SPC00") and found.primary for found in caught.value.diagnostics)


def test_a_file_that_cannot_be_read_is_a_diagnostic(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for path, words in (("none.yaml", "no such file"), ("latin.yaml", "not UTF-8"), (".", "folder")):
        with pytest.raises(SpecErrors) as caught:
            read(tmp_path / path)
        assert words in caught.value.diagnostics[0].headline
