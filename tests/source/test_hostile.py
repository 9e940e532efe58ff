"""Texts made to exhaust a reader are answered at their place, without reading on."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.driver import check

HOSTILE = {
    "flow": ("a: " + "[" * 500_000, "more than 60 levels"),
    "block": ("- " * 500_000, "more than 60 levels"),
    "indented": ("".join(" " * n + "a:\n" for n in range(1000)), "more than 60 levels"),
    "values": ("a: [" + "1," * 400_000 + "1]", "more than 60,000 values"),
    "large": ("# " + "x" * 50_000_000, "more than 1,048,576 bytes"),
    "null byte": ("specc: 1\nname: a\0b\n", "U+0000 is a control character"),
    "escape": ("specc: 1\nname: \x1b[31m\n", "U+001B is a control character"),
    "anchors": ("a: &x 1\nb: &x 2\n", "the anchor `&x` is set twice"),
    "alias": ("a: *x\n", "there is no anchor `&x`"),
    "itself": ("a: &x [*x]\n", "stands in what it names"),
    "alias as key": ("a: &x b\n*x : 1\n", "a key is a word, not an alias"),
    "anchor on key": ("&x a: 1\n", "this one carries `&x`"),
    "merge": ("a: &x {b: 1}\nc: {<<: *x}\n", "`<<` is a merge key"),
    "documents": ("a: 1\n---\nb: 1\n", "a second document begins here"),
    "version": ("%YAML 1.1\n---\na: 1\n", "`%YAML 1.1` asks for other rules"),
    "tab": ("a:\n\tb: 1\n", "a tab indents this line"),
    "surrogate": ('a: "\\ud800"\n', "there is no such escape"),
    "unclosed": ("a: {b: 1\n", "the mapping is not closed"),
    "placeholder": ("a: {b: ${env:X}/y}\n", "the mapping is not closed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_one_plain_diagnostic(name: str, tmp_path: Path) -> None:
    text, words = HOSTILE[name]
    (tmp_path / "spec.yaml").write_bytes(text.encode())
    (found,) = check(tmp_path / "spec.yaml").diagnostics
    assert words in found.headline
    assert found.code in ("SPC001", "SPC019")
    assert found.primary is not None


def test_laughs_are_counted_before_they_are_multiplied(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    (tmp_path / "spec.yaml").write_text("\n".join(lines), encoding="utf-8")
    (found,) = check(tmp_path / "spec.yaml").diagnostics
    assert found.primary is not None
    assert found.primary.span.line <= 6


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_bytes("\ufeffextends: presets/tiny.yaml\nsead: 1\n".encode())
    (found,) = check(tmp_path / "spec.yaml").diagnostics
    assert found.primary is not None
    assert (found.primary.span.line, found.primary.span.column) == (2, 1)


def test_an_override_that_is_no_unicode_is_a_diagnostic(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("extends: presets/tiny.yaml\n", encoding="utf-8")
    (found,) = check(tmp_path / "spec.yaml", ("name=\udcff",)).diagnostics
    assert "half of a surrogate pair" in found.headline


def test_thousands_of_mistakes_are_counted_and_the_first_are_shown(tmp_path: Path) -> None:
    keys = "\n".join(f"zz{n}q: 1" for n in range(5_000))
    (tmp_path / "spec.yaml").write_text(f"extends: presets/tiny.yaml\n{keys}\n", encoding="utf-8")
    found = check(tmp_path / "spec.yaml").diagnostics
    assert len(found) == 101
    assert (found[-1].code, found[-1].headline) == ("SPC040", "4,900 more mistakes are not shown")
