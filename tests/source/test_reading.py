"""Files, presets and overrides become one tree that knows where everything was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.source import SpecErrors, read
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


def test_a_file_that_the_system_refuses_is_a_diagnostic(tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        read(tmp_path / ("n" * 300))
    (found,) = caught.value.diagnostics
    assert (found.code, found.headline) == ("SPC001", "this file cannot be read: file name too long")


@pytest.mark.parametrize("name", ["n" * 300, '"a\\0b"', "none.yaml", "."])
def test_a_preset_that_cannot_be_is_a_diagnostic(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecErrors) as caught:
        read(write(tmp_path, spec=f"extends: {name}\n"))
    assert [found.code for found in caught.value.diagnostics] == ["SPC011"]


@pytest.mark.parametrize(
    ("override", "code", "column"),
    [
        ("a.x=[1", "SPC001", 7),
        ("a.x=}", "SPC001", 5),
        ("a.x=b: c: d", "SPC001", 9),
        ("a.x=!!set 5", "SPC001", 5),
        ("a.x={b: 1, b: 2}", "SPC002", 12),
        ("a.x=" + "[" * 500 + "]" * 500, "SPC001", 66),
        ("a.x=\x01", "SPC001", 5),
        ("a.x", "SPC010", 1),
    ],
)
def test_an_override_that_is_not_yaml_points_at_its_value(
    override: str, code: str, column: int, tmp_path: Path
) -> None:
    with pytest.raises(SpecErrors) as caught:
        read(write(tmp_path, spec="a: {x: 1}\n"), (override,))
    (found,) = caught.value.diagnostics
    assert found.primary is not None
    assert (found.code, found.primary.span.column) == (code, column)


def test_an_override_sets_what_a_section_extends(tmp_path: Path) -> None:
    spec = write(tmp_path, one="x: 1\ny: 1\n", two="x: 2\nz: 2\n", spec="a: {extends: one.yaml, y: 5}\n")
    assert to_data(read(spec, ("a.extends=two.yaml",)).root) == {"a": {"x": 2, "z": 2, "y": 5}}
    assert to_data(read(spec, ("a.extends=two.yaml", "a.z=3")).root) == {"a": {"x": 2, "z": 3, "y": 5}}
    assert to_data(read(spec, ("a={extends: two.yaml}",)).root) == {"a": {"x": 2, "z": 2}}
    assert to_data(read(spec, ("b.extends=one.yaml",)).root)["b"] == {"x": 1, "y": 1}
    with pytest.raises(SpecErrors) as caught:
        read(spec, ("a.extends=none.yaml",))
    (found,) = caught.value.diagnostics
    assert found.primary is not None
    assert (found.code, found.primary.span.file, found.primary.span.column) == (
        "SPC011",
        "--set a.extends=none.yaml",
        11,
    )


def test_an_override_deletes_what_a_path_names(tmp_path: Path) -> None:
    spec = write(tmp_path, base="a: {x: 1, y: 2}\n", spec="extends: base.yaml\nlist: [1, {b: 2, c: 3}]\n")
    assert to_data(read(spec, ("~a.x",)).root) == {"a": {"y": 2}, "list": (1, {"b": 2, "c": 3})}
    assert to_data(read(spec, ("~list.0", "~list.0.b")).root)["list"] == ({"c": 3},)
    assert to_data(read(spec, ("~extends",)).root) == {"list": (1, {"b": 2, "c": 3})}


@pytest.mark.parametrize(
    ("override", "headline", "help_text"),
    [
        ("~a.xx", "`~a.xx` deletes nothing: this spec has no `a.xx`", "did you mean `~a.x`?"),
        ("~lst.0", "this spec has no `lst`", "did you mean `~list.0`?"),
        ("~a.x.y", "this spec has no `a.x.y`", "`a.x` holds a value, and no keys"),
        ("~list.2", "`list` is a list of 2, and has no item `2`", "its items are `list.0` to `list.1`"),
        ("list.x=1", "`list` is a list of 2, and has no item `x`", "its items are `list.0` to `list.1`"),
        ("~", "`~` does not say what to delete", "write a path"),
        ("~a=1", "`~a=1` does not say what to delete", "write a path"),
        ("", "the override is empty", "write a path"),
        ("=1", "`=1` has no path before the `=`", "such as"),
        ("a..x=1", "the path `a..x` has an empty part", "did you mean `a.x`?"),
    ],
)
def test_an_override_that_names_nothing_says_what_there_is(
    override: str, headline: str, help_text: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecErrors) as caught:
        read(write(tmp_path, spec="a: {x: 1}\nlist: [1, 2]\n"), (override,))
    (found,) = caught.value.diagnostics
    assert found.code == "SPC010"
    assert headline in found.headline
    assert help_text in (found.help or "")
