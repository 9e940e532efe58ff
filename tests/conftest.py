"""What every test may ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# Threads that wait for each other take longer than the sums of these small models do: 318 s became 36 s for the parity
# tests. Said to the environment, so that programs which tests start do the same, and before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


Specc = Callable[..., Said]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def specc(tmp_path: Path) -> Specc:
    """Run the command line as a user does, in a folder of its own."""

    def run(*arguments: str, cwd: Path = tmp_path) -> Said:
        command = [sys.executable, "-m", "specc", *arguments]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    return run
