"""How loud a diagnostic is, and who decides it."""

from __future__ import annotations

import pytest

from specc.diagnostics import Finding, Severity
from specc.diagnostics.levels import Levels, level
from tests.conftest import ROOT, Specc

TINY = str(ROOT / "specs/presets/tiny.yaml")
NONE = Levels()
EVERY = ("--set", "stages.pretrain.checkpoint.every=5000 steps")


@pytest.mark.parametrize(
    ("own", "spec", "line", "loud"),
    [
        ("warning", NONE, NONE, "warning"),
        ("warning", Levels(allow=("X",)), NONE, "off"),
        ("warning", Levels(allow=("X",)), Levels(warn=("X",)), "warning"),
        ("warning", Levels(warn=("X",)), Levels(allow=("X",)), "off"),
        ("off", NONE, NONE, "off"),
        ("off", Levels(warn=("X",)), NONE, "warning"),
        ("off", NONE, Levels(deny=("warnings",)), "off"),
        ("off", Levels(warn=("X",)), Levels(deny=("warnings",)), "error"),
        ("warning", Levels(allow=("X",)), Levels(deny=("warnings",)), "off"),
        ("warning", Levels(allow=("X",)), Levels(deny=("X",)), "error"),
        ("note", NONE, Levels(deny=("warnings",)), "note"),
        ("error", Levels(allow=("X",)), Levels(allow=("X",)), "error"),
    ],
)
def test_the_command_line_stands_above_the_spec_and_errors_above_both(
    own: Severity, spec: Levels, line: Levels, loud: Severity
) -> None:
    assert level(Finding("X", "x", severity=own), spec, line) == loud


def test_warnings_can_be_denied_and_allowed(specc: Specc) -> None:
    assert "warning[SPC308]" in specc("check", TINY, *EVERY).err
    for denied in ("warnings", "SPC308"):
        said = specc("check", TINY, *EVERY, "--deny", denied)
        assert said.code == 1
        assert "error[SPC308]" in said.err
    assert specc("check", TINY, *EVERY, "--deny", "warnings", "--allow", "SPC308").err == ""
    assert specc("check", TINY, *EVERY, "--deny", "warnings", "--allow", "spc308").err == ""
    assert specc("check", TINY, *EVERY, "--set", "allow=[SPC308]").err == ""


def test_a_code_that_cannot_be_allowed_is_wrong_usage(specc: Specc) -> None:
    unknown = specc("check", TINY, "--deny", "SPC3O8")
    assert unknown.code == 2
    assert "there is no diagnostic `SPC3O8`; did you mean `SPC308`?" in unknown.err
    assert "errors cannot be allowed" in specc("check", TINY, "--allow", "SPC102").err
