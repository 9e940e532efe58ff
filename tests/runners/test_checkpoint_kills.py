"""`kill -9` at any moment, also in the middle of saving: the run that is started again ends with the same bits."""

from __future__ import annotations

import multiprocessing
import os
import random
import runpy
import sys
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from runners import checkpoint
from runners.events import has_finished, read_events
from tests.runners.conftest import Experiment
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
