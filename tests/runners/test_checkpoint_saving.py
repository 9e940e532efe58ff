"""Saving while training goes on, trying it out before hours depend on it, and disks that are too small."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from runners import checkpoint
from runners.checkpoint import Checkpoint, Keep, Piece, Saver, Schedule, canary, whole_piece
from runners.checkpoint.disk import at_once
from runners.errors import RunError
from runners.events import read_events
from runners.ranks import ALONE
from tests.conftest import ROOT
from tests.runners.conftest import Experiment


def saver(run: Path, reported: list[Checkpoint], *, asynchronous: bool = True) -> Saver:
    return Saver(run, Keep(2), ALONE, reported.append, asynchronous=asynchronous)


def test_the_state_of_its_step_is_written_while_training_changes_it(tmp_path: Path) -> None:
    reported: list[Checkpoint] = []
    saving, weights = saver(tmp_path, reported), torch.zeros(1 << 22)
    for step in (1, 2, 3):
        weights.fill_(step)
        saving.save(step, 0, 0.0, [whole_piece("model/a", weights)], {})
        weights.fill_(-1.0)
        assert [one.step for one in reported] == list(range(1, step)), "the one before it is on disk, this one is not"
    saving.wait()
    assert [one.step for one in reported] == [1, 2, 3]
    for step in (2, 3):
        path = checkpoint.folder_of(tmp_path, step)
        assert Checkpoint(path, reported[step - 1].index).tensor("model/a").unique().tolist() == [step]


def test_an_error_of_a_thread_is_said_between_two_steps(tmp_path: Path) -> None:
    reported: list[Checkpoint] = []
    saving = saver(tmp_path, reported)
    saving.save(1, 0, 0.0, [Piece("model/a", (4,), (0,), torch.zeros(2))], {})
    with pytest.raises(RunError, match="has 4 elements, and all ranks together write 2"):
        while True:
            saving.look()
    saving.look()
    saving.wait()
    assert not reported


def test_looking_does_not_wait(tmp_path: Path) -> None:
    """The thread is busy with something else until it is let go."""
    reported: list[Checkpoint] = []
    saving = saver(tmp_path, reported)
    home = tmp_path / "checkpoints"
    held = threading.Event()
    saving._thread.submit(held.wait)  # type: ignore[union-attr]
    saving.save(1, 0, 0.0, [whole_piece("model/a", torch.zeros(2))], {})
    saving.look()
    assert not reported
    assert not home.exists()
    held.set()
    saving.wait()
    assert [one.step for one in reported] == [1]


def test_a_run_that_fails_reports_what_it_was_saving(tmp_path: Path) -> None:
    reported: list[Checkpoint] = []
    with pytest.raises(RunError, match="the loss is nan"), saver(tmp_path, reported) as saving:
        saving.save(1, 0, 0.0, [whole_piece("model/a", torch.zeros(1 << 20))], {})
        raise RunError("the loss is nan")
    assert [one.step for one in reported] == [1]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_that_saves_meanwhile_ends_with_the_same_bits(experiment: Experiment, asynchronous: bool) -> None:
    """And its events say where each checkpoint lies, once it lies there."""
    if asynchronous:
        experiment.change("keep_checkpoints=2,", "keep_checkpoints=2, checkpoint_asynchronous=True,")
    experiment.change("steps=200", "steps=30")
    done = experiment.execute("train.py", "run")
    assert done.returncode == 0, done.stderr
    run = experiment.folder / "run"
    said = [event for event in read_events(run) if event["type"] == "checkpoint"]
    assert [event["step"] for event in said] == [10, 20, 30]
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-00000020", "step-00000030"}
    found = checkpoint.required(run)
    assert said[-1]["sha256"] == found.sha256
    assert said[-1]["bytes"] == sum(file.stat().st_size for file in found.path.iterdir())
    experiment.change("checkpoint_every=10", "checkpoint_every=30")
    assert experiment.execute("train.py", "other").returncode == 0
    other = checkpoint.required(experiment.folder / "other")
    assert other.sha256 == found.sha256


def pieces() -> list[Piece]:
    odd = torch.tensor([float("nan"), -0.0, 1e-45, float("inf")])
    return [whole_piece("model/a", odd), Piece("optimizer/a/m", (6,), 0, torch.arange(6.0).bfloat16())]


def test_the_canary_compares_and_leaves_nothing(tmp_path: Path) -> None:
    seconds = saver(tmp_path, []).try_out(pieces(), {"scale": 1.0}, Schedule(100, 10, None))
    assert seconds > 0
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_disk_that_loses_a_bit_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    monkeypatch.setattr(canary, "_forget", lose)
    with pytest.raises(RunError, match="with other bits than were written there"):
        saver(tmp_path, []).try_out(pieces(), {}, Schedule(100, 10, None))


def test_a_canary_that_a_kill_left_is_removed(tmp_path: Path) -> None:
    for name in ("canary", ".canary.99"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    checkpoint.remove_unfinished(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("keep", "steps", "every", "count"),
    [
        (Keep(2), 100, 10, 3),  # two are kept while a third is written
        (Keep(2), 20, 10, 2),
        (Keep(2), 25, 10, 3),
        (Keep(2, every=50), 100, 10, 5),
        (Keep(1, every=10), 100, 10, 10),
    ],
)
def test_the_fullest_moment_is_counted(keep: Keep, steps: int, every: int, count: int) -> None:
    assert at_once(keep, Schedule(steps, every, 1)) == count


def test_the_count_is_never_less_than_what_a_run_has_on_disk(tmp_path: Path) -> None:
    for keep in (Keep(1), Keep(2, every=7), Keep(3, every=20)):
        run, most = tmp_path / str(keep.every), 0
        for step in range(5, 65, 5):
            before = len(list(run.glob("checkpoints/step-*")))
            most = max(most, before + 1)
            checkpoint.save(run, step, 0, 0.0, [], {}, keep)
        assert most <= at_once(keep, Schedule(60, 5, 1)) <= most + keep.last


def test_a_disk_that_is_too_small_is_found_out_before_the_run(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = experiment.manifest.stages["pretrain"]
    entry.predictions["checkpoint_bytes"] = 1e15  # type: ignore[index]
    experiment.declare()
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 1
    error = capsys.readouterr().err
    assert "3 checkpoints of 1,000,000.00 GB are on disk at once" in error
    assert "make room, or lower `checkpoint.keep_last`" in error
    assert not [event for event in read_events(experiment.folder / "run") if event["type"] == "metric"]


LIMITED = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = sys.argv[2:]
import runpy, pathlib
sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_file_that_cannot_grow_is_found_out_at_the_first_step(experiment: Experiment) -> None:
    command = [sys.executable, "-c", LIMITED, "30000", *experiment.command("train.py", "run")[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    # The tokens are read from files of an earlier attempt: they are larger than what is allowed.
    experiment.change("steps=200", "steps=3")
    assert experiment.execute("train.py", "first").returncode == 0
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "the checkpoint of step 1 could not be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    run = experiment.folder / "run"
    assert max(event["step"] for event in read_events(run) if event["type"] == "metric") == 1
    assert not list((run / "checkpoints").iterdir())


FULL = """
import sys, torch
from pathlib import Path
from runners import checkpoint
from runners.errors import RunError
run, asynchronous = Path(sys.argv[1]), sys.argv[2] == "True"
from runners.ranks import ALONE
saver = checkpoint.Saver(run, checkpoint.Keep(2), ALONE, lambda done: None, asynchronous=asynchronous)
def pieces(step): return [checkpoint.whole_piece("model/a", torch.full((100_000,), float(step)))]
saver.save(1, 0, 0.0, pieces(1), {})
saver.wait()
(run / "filler").write_bytes(b"x" * 500_000)
try:
    saver.save(2, 0, 0.0, pieces(2), {})
    saver.wait()
except RunError as error:
    print(error)
print([path.name for path in (run / "checkpoints").iterdir()])
found, damaged = checkpoint.latest(run)
print(found.step, damaged, found.tensor("model/a").unique().tolist())
(run / "filler").unlink()
saver.save(2, 0, 0.0, pieces(2), {})
saver.wait()
print(checkpoint.required(run).step)
"""


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_disk_that_is_full_leaves_the_older_checkpoint_whole(tmp_path: Path, asynchronous: bool) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no program `unshare` to mount a small disk with")
    script = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path} {asynchronous}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, FULL]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert done.returncode == 0, done.stderr
    error, folders, state, after = done.stdout.splitlines()
    assert error.startswith("the checkpoint of step 2 could not be written: No space left on device; weights.safet")
    assert folders == "['step-00000001']"
    assert state == "1 () [1.0]"
    assert after == "2"
