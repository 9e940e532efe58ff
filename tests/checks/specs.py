"""Specs to check, as a few lines on top of a preset; and what is said about them."""

from __future__ import annotations

from pathlib import Path

from specc import ir
from specc.diagnostics import Diagnostic
from specc.driver import Outcome, Wishes, check

EIGHT = "cluster: {device: h100_sxm, devices_per_node: 8}"


def outcome(folder: Path, text: str, *, emitting: bool = False) -> Outcome:
    """What specc makes of a spec that extends the smallest preset."""
    path = folder / "spec.yaml"
    path.write_text(f"extends: presets/tiny.yaml\n{text}\n", encoding="utf-8")
    return check(path, wishes=Wishes(emitting=emitting))


def found(folder: Path, text: str, code: str) -> list[Diagnostic]:
    """The diagnostics of one code."""
    return [each for each in outcome(folder, text).diagnostics if each.code == code]


def codes(folder: Path, text: str, *, without: tuple[str, ...] = ("SPC419",)) -> list[str]:
    """Codes in order, those left out that only say what is not run."""
    return [each.code for each in outcome(folder, text).diagnostics if each.code not in without]


def layout(folder: Path, text: str) -> ir.Layout:
    """The layout of the pretraining stage of a spec without errors."""
    plan = outcome(folder, text).plan
    assert plan is not None
    placed = plan.stage("pretrain").layout
    assert placed is not None
    return placed
