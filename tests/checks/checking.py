"""Check short specs inside tests."""

from __future__ import annotations

from pathlib import Path

from specc.diagnostics.diagnostic import Diagnostic
from specc.driver import check

START = "extends: presets/tiny.yaml\n"


def found(folder: Path, text: str) -> tuple[Diagnostic, ...]:
    """What is said about the tiny spec with these lines, notes about missing code left out."""
    file = folder / "spec.yaml"
    file.write_text(START + text, encoding="utf-8")
    return tuple(one for one in check(file).diagnostics if one.severity != "note")


def said(folder: Path, text: str) -> list[tuple[str, str]]:
    """Codes and headlines."""
    return [(one.code, one.headline) for one in found(folder, text)]
