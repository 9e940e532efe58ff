"""`kill -9` at any moment, also in the middle of saving: the run that is started again ends with the same bits."""

from __future__ import annotations

import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from runners import checkpoint
from runners.events import has_finished, read_events
from tests.runners.conftest import Experiment, environment
from tests.runners.test_pretrain import curve

KILLS = 50
STEPS = 240


def execute(arguments: list[str]) -> None:
    """The program of a plan, in a process that has loaded PyTorch already: many starts, and no time for each."""
    sys.path.insert(0, str(Path(arguments[0]).parent))
    sys.argv = arguments
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        runpy.run_path(arguments[0], run_name="__main__")


def start(server: ForkServerContext, experiment: Experiment, run: str) -> BaseProcess:
    process = server.Process(target=execute, args=(experiment.command("train.py", run)[1:],))
    process.start()
    return process


def of_two(experiment: Experiment, run: str) -> subprocess.Popen[bytes]:
    """A run of two processes, which a signal to their group reaches at once."""
    launch = "import sys; from runners.processes import run_here; sys.exit(run_here(sys.argv[1:], 2))"
    command = [sys.executable, "-c", launch, *experiment.command("train.py", run)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, start_new_session=True)


def to_the_end(server: ForkServerContext, experiment: Experiment, run: str) -> Path:
    process = start(server, experiment, run)
    process.join(120)
    assert process.exitcode == 0
    return experiment.folder / run


def said(run: Path, kinds: tuple[str, ...]) -> int:
    return sum(event["type"] in kinds for event in read_events(run))


def kill_at_random(process: BaseProcess, run: Path, draw: random.Random) -> bool:
    """Kill it some time after it began, or began to train; whether it had half a checkpoint on disk then."""
    kinds = draw.choice((("run_started",), ("metric",), ("metric",), ("checkpoint",)))
    before, deadline = said(run, kinds), time.monotonic() + 60
    while said(run, kinds) == before and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(draw.uniform(0.0, 0.2))
    process.kill()
    process.join()
    return any((run / "checkpoints").glob(".*"))


def same(one: Path, other: Path) -> None:
    """Weights, states of the optimizer, scalars and the history of losses, to the bit."""
    found, expected = checkpoint.required(one), checkpoint.required(other)
    assert found.step == expected.step
    assert found.scalars == expected.scalars
    assert found.names() == expected.names()
    assert all(torch.equal(found.tensor(name), expected.tensor(name)) for name in expected.names())
    for name in ("train/loss", "train/grad_norm", "train/learning_rate", "validation/loss"):
        assert curve(one, name) == curve(other, name)


@pytest.fixture
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runners.pretrain", "tests.runners.test_checkpoint_kills"])
    return context


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True])
def test_fifty_kills_at_random_moments_change_no_bit(
    experiment: Experiment, server: ForkServerContext, asynchronous: bool
) -> None:
    experiment.change("steps=200", f"steps={STEPS}")
    experiment.change("checkpoint_every=10", f"checkpoint_every=2, checkpoint_asynchronous={asynchronous}")
    whole = to_the_end(server, experiment, "whole")
    draw, kills, amid, runs, finished = random.Random(0), 0, 0, 1, 0
    while kills < KILLS:
        run = experiment.folder / f"killed{runs}"
        amid += kill_at_random(start(server, experiment, run.name), run, draw)
        kills += 1
        if has_finished(run):
            runs, finished = runs + 1, finished + 1
            same(run, whole)
    same(to_the_end(server, experiment, run.name), whole)
    assert amid, "no kill came while a checkpoint was being written"
    attempts = max(event["attempt"] for event in read_events(run))
    assert finished + attempts > 1


def test_a_run_in_two_halves_with_a_kill_between_them_is_the_whole_run(
    experiment: Experiment, server: ForkServerContext
) -> None:
    experiment.change("steps=200", "steps=40")
    experiment.change("validate_every=50", "validate_every=20")
    whole = to_the_end(server, experiment, "whole")
    process, run = start(server, experiment, "killed"), experiment.folder / "killed"
    while max(curve(run), default=0) < 20:
        assert process.is_alive()
        time.sleep(0.002)
    process.kill()
    process.join()
    same(to_the_end(server, experiment, "killed"), whole)


@pytest.mark.slow
def test_two_processes_that_are_killed_while_threads_save_go_on_to_the_same_bits(experiment: Experiment) -> None:
    experiment.change("steps=200", "steps=60")
    experiment.change("from runners.init", "from runners.layout import Layout\nfrom runners.init")
    divided = "layout=Layout(shard=2, zero_stage=3), checkpoint_asynchronous=True"
    experiment.change("keep_checkpoints=2,", f"keep_checkpoints=2, {divided},")
    experiment.change("micro_batch_size=4", "micro_batch_size=2")
    assert of_two(experiment, "whole").wait(120) == 0
    process, run = of_two(experiment, "killed"), experiment.folder / "killed"
    while max(curve(run), default=0) < 33:
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert of_two(experiment, "killed").wait(120) == 0
    same(run, experiment.folder / "whole")
    files = {path.name for path in (run / "checkpoints/step-00000060").iterdir()}
    assert {f"weights-0000{rank}-of-00002.safetensors" for rank in (1, 2)} < files
