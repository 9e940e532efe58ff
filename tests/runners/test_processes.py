"""Processes of one run on this machine: real ones, over gloo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.runners.conftest import environment

PROGRAM = """
import os
import signal

import torch
import torch.distributed as dist

from runners.layout import Layout
from runners.ranks import end, join, leave
from runners.run import is_lost_peer

ranks = join(Layout(replicate=2))
assert ranks.total(ranks.rank + 1) == 3
if {dies} and ranks.rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    print(f"sum {{ranks.total(1)}}", flush=True)
except RuntimeError as error:
    print("lost", is_lost_peer(error), flush=True)
    end(1)
leave(ranks)
"""


def run(folder: Path, *, dies: bool) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM.format(dies=dies))
    command = [sys.executable, "-m", "runners.processes", "2", str(folder / "program.py")]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)


def test_processes_find_each_other_and_end_together(tmp_path: Path) -> None:
    done = run(tmp_path, dies=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sum 2") == 2, done.stdout


def test_one_that_is_killed_ends_the_others_and_gives_its_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path, dies=True)
    assert done.returncode in (137, 1), done.stderr  # whichever of the two is seen first
    assert done.stdout.split() == ["lost", "True"]
