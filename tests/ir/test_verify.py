"""The IR is verified between passes: a breach names the pass, and is a bug of ours."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from specc import ir
from tests.compiling import planned
from tests.conftest import ROOT, Specc

TINY = str(ROOT / "specs/presets/tiny.yaml")


def test_a_sound_plan_passes() -> None:
    plan = planned()
    ir.verify(plan.experiment, "a pass")
    ir.verify(plan, "plan")


def test_a_broken_experiment_names_the_pass() -> None:
    experiment = planned(spec=ROOT / "specs/quickstart.yaml").experiment
    twice = replace(experiment, stages=experiment.stages * 2)
    with pytest.raises(ir.BrokenIrError, match="`doubled` broke the IR: two stages share a name"):
        ir.verify(twice, "doubled", experiment)
    orphan = replace(experiment, stages=experiment.stages[1:])
    with pytest.raises(ir.BrokenIrError, match="comes after a stage that is not there"):
        ir.verify(orphan, "orphan", experiment)


def test_a_layout_that_does_not_make_up_the_batch_is_a_breach() -> None:
    plan = planned()
    layout = plan.stages[0].layout
    assert layout is not None
    wrong = replace(plan.stages[0], layout=replace(layout, micro_batch_size=3))
    with pytest.raises(ir.BrokenIrError, match="`plan` broke the IR: the layout of stage pretrain"):
        ir.verify(replace(plan, stages=(wrong, *plan.stages[1:])), "plan")


def test_a_pass_that_breaks_the_ir_is_exit_code_70(tmp_path: Path) -> None:
    probe = (
        "import dataclasses, specc.driver as d\n"
        "def double(e): return dataclasses.replace(e, stages=e.stages * 2)\n"
        "d.PASSES = (*d.PASSES, double)\n"
        "from specc.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, "check", TINY], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 70
    assert "`double` broke the IR: two stages share a name" in done.stderr


@pytest.mark.parametrize("command", ["check", "compile", "plan"])
def test_dump_passes_writes_a_file_a_step(command: str, specc: Specc, tmp_path: Path) -> None:
    assert specc(command, TINY, "--dump-passes", "dump").code == 0
    assert sorted(path.name for path in (tmp_path / "dump").iterdir()) == [
        "00_lower.txt", "01_order_stages.txt", "plan.txt"
    ]  # fmt: skip
    assert (tmp_path / "dump/plan.txt").read_text(encoding="utf-8").startswith("Plan\n  experiment: Experiment\n")


def test_a_folder_that_cannot_be_written_is_a_plain_error(specc: Specc, tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("", encoding="utf-8")
    said = specc("check", TINY, "--dump-passes", "dump")
    assert said.code == 1
    assert said.err.startswith("error: dump/00_lower.txt cannot be written")
