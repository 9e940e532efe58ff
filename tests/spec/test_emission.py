"""What has no code is planned and locked all the same, and refused where code is asked for."""

from __future__ import annotations

from pathlib import Path

from specc import driver
from tests.compiling import TINY
from tests.conftest import Specc

PREFIX = ("stages.pretrain.packing.cross_document=false", "stages.pretrain.objective={kind: prefix}")
SETS = tuple(word for one in PREFIX for word in ("--set", one))


def test_a_choice_without_code_is_a_note_and_planned() -> None:
    outcome = driver.check(TINY, PREFIX)
    assert [(found.code, found.severity) for found in outcome.diagnostics] == [("SPC813", "note")]
    assert outcome.plan is not None
    assert outcome.plan.stages[0].step_time_s is not None


def test_it_is_an_error_where_code_is_asked_for() -> None:
    outcome = driver.check(TINY, PREFIX, wishes=driver.Wishes(emitting=True))
    assert [(found.code, found.severity) for found in outcome.diagnostics] == [("SPC813", "error")]
    assert outcome.plan is None


def test_compile_and_run_refuse_it_and_write_nothing(specc: Specc, tmp_path: Path) -> None:
    for command in ("compile", "run"):
        said = specc(command, str(TINY), *SETS)
        assert said.code == 1
        assert said.err.startswith(
            "error[SPC813]: this version of specc emits no code for a prefix that is seen as a whole where documents"
        )
    assert not list(tmp_path.iterdir())
    assert specc("check", str(TINY), *SETS).code == 0
    assert specc("plan", str(TINY), *SETS).code == 0
