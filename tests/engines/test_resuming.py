"""A run goes on from a checkpoint: on the same layout with the same bits, and on another with the same curve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runners.layout import Layout
from tests.conftest import ROOT
from tests.engines.judging import furthest, trained
from tests.engines.reference import VARIANTS
from tests.engines.test_tensor import divided
from tests.engines.training import Case, Seen

if TYPE_CHECKING:
    from tests.engines.conftest import Experiment

SAVED, STEPS = 6, 14


def layouts() -> dict[str, Layout]:
    sets = VARIANTS["alibi"]
    return {
        "ddp": Layout(replicate=2),
        "zero 1": Layout(shard=2, zero_stage=1),
        "zero 2": Layout(shard=2, zero_stage=2),
        "zero 3": Layout(shard=2, zero_stage=3),
        "tensor": divided(False, *sets, tensor=2),
        "sequence": divided(True, *sets, tensor=2),
        "one": Layout(),
        "zero 3 on 4": Layout(shard=4, zero_stage=3),
        "copies of parts": Layout(replicate=2, shard=2, zero_stage=3),
        "tensor in zero 3": divided(True, *sets, tensor=2, shard=2, zero_stage=3),
    }


def killed(plan: Path, case: Case) -> None:
    """Train until every rank is killed."""
    with pytest.raises(AssertionError, match=r"ended and said nothing|ended with -9"):
        trained(plan, [case])


def went_on(plan: Path, run: Path, layout: Layout) -> list[Seen]:
    """The steps after the checkpoint."""
    (seen,) = trained(plan, [Case(layout, 1, STEPS, resumes=str(run))])
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "zero 1", "zero 2", "zero 3", "tensor", "sequence", "tensor in zero 3"])
def test_a_killed_run_ends_with_the_same_bits(experiment: Experiment, tmp_path: Path, name: str) -> None:
    plan, _ = experiment("alibi", STEPS)
    layout = layouts()[name]
    (whole,) = trained(plan, [Case(layout, 1, STEPS)])
    killed(plan, Case(layout, 1, STEPS, saves=(str(tmp_path), SAVED), dies=SAVED + 3))
    for rank, before in zip(went_on(plan, tmp_path, layout), whole, strict=True):
        assert rank.losses == before.losses[SAVED:]
        assert rank.norms == before.norms[SAVED:]
        assert rank.ended == before.ended
        assert rank.validation == before.validation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("zero 3 on 4", ("zero 3", "ddp", "one", "tensor")),
        ("copies of parts", ("zero 2", "one")),
        ("tensor in zero 3", ("zero 3", "sequence", "one")),
        ("sequence", ("zero 3 on 4", "ddp")),
        ("ddp", ("zero 1", "tensor")),
        ("one", ("tensor in zero 3",)),
    ],
)
def test_a_run_goes_on_in_another_layout(
    experiment: Experiment, tmp_path: Path, first: str, then: tuple[str, ...]
) -> None:
    plan, _ = experiment("alibi", STEPS)
    (whole,) = trained(plan, [Case(layouts()[first], 1, STEPS, saves=(str(tmp_path), SAVED))])
    for name in then:
        seen = went_on(plan, tmp_path, layouts()[name])
        assert furthest(seen[0].losses, whole[0].losses[SAVED:]) <= 1e-6
        assert furthest(seen[0].norms, whole[0].norms[SAVED:]) <= 2e-6


@pytest.mark.slow
def test_no_rank_aborts_at_its_end(experiment: Experiment) -> None:
    plan, _ = experiment("alibi", STEPS)
    command = [sys.executable, "-m", "tests.engines.ending", str(plan), "50"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert (done.returncode, done.stdout) == (0, "50 groups of 2 ranks ended well\n"), done.stderr
