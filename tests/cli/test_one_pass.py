"""All mistakes come in one pass: a slip does not hide what is wrong elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.driver import check

SLIPS = "model:\n  hiden_size: 128\n"
LATER = """\
suites:
  core: {tasks: [{task: hellaswg}]}
stages:
  pretrain:
    schedule: {kind: cosine, warmup: 200 steps}
    checkpoint: {evry: 500 steps}
  evaluate: {kind: evaluate, models: [pretrain], suites: [core]}
"""


def codes(folder: Path, text: str) -> list[str]:
    (folder / "spec.yaml").write_text(f"extends: presets/tiny.yaml\n{text}", encoding="utf-8")
    return [found.code for found in check(folder / "spec.yaml").diagnostics]


def test_slips_and_what_is_wrong_elsewhere_are_shown_together(tmp_path: Path) -> None:
    assert codes(tmp_path, SLIPS + LATER) == ["SPC003", "SPC003", "SPC601", "SPC302", "SPC308"]


def test_what_follows_from_a_mistake_that_is_no_slip_is_not_guessed(tmp_path: Path) -> None:
    assert codes(tmp_path, "model:\n  hidden_size: wide\n" + LATER) == ["SPC004", "SPC003"]


def test_places_are_those_of_the_file_and_not_of_the_mended_one(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"extends: presets/tiny.yaml\n{SLIPS}{LATER}", encoding="utf-8")
    found = {one.code: one.primary for one in check(tmp_path / "spec.yaml").diagnostics}
    warmup, cadence = found["SPC302"], found["SPC308"]
    assert warmup is not None
    assert cadence is not None
    assert (warmup.span.line, warmup.span.column) == (8, 38)
    assert (cadence.span.line, cadence.span.column) == (9, 24)


@pytest.mark.parametrize("harmless", ["core: {tasks: [{task: hellaswg}]}"])
def test_an_unknown_task_hides_no_length_that_does_not_fit(harmless: str, tmp_path: Path) -> None:
    text = f"suites:\n  {harmless}\nstages:\n  pretrain: {{schedule: {{kind: cosine, warmup: 200 steps}}}}\n"
    assert codes(tmp_path, text) == ["SPC601", "SPC302"]
