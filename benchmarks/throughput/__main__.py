"""Tokens per second of three systems on the same shapes, as ratios to the best of the other two.

python -m benchmarks.throughput --litgpt .venv-litgpt/bin/python [--shapes gpt2_10m,...] [--steps 12] [--rounds 2]

litgpt pins a hub client that transformers 5 cannot use, so it has an environment of its own:

    python -m venv .venv-litgpt && .venv-litgpt/bin/pip install torch==2.13.0 litgpt==0.5.13

Each system trains in processes of its own, one at a time and in turns, so that a busy moment of the machine hits all of
them; a figure is the median step after the first three, of the best round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.throughput import ours, shapes
from benchmarks.throughput.shapes import SHAPES, Shape

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 3
"""Steps at the beginning that do not count: compiling, first touches of memory."""
MODES = ("eager", "compiled")
Measure = Callable[[Shape, str, str, int, Path], list[float]]


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--litgpt", metavar="PYTHON", help="the Python of litgpt's environment; without it, litgpt is left out"
    )
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    systems: dict[str, Measure] = {"specc": _ours, "Trainer": _trainer}
    if options.litgpt:
        systems["litgpt"] = lambda *given: _litgpt(options.litgpt, *given)
    print(
        f"{'tokens/s':<18}"
        + "".join(f"{name + ' ' + mode:>18}" for name in systems for mode in MODES)
        + f"{'best / best':>13}"
    )
    for name in options.shapes.split(","):
        for precision in options.precisions.split(","):
            _row(SHAPES[name], precision, systems, options.steps, options.rounds)


def _row(shape: Shape, precision: str, systems: dict[str, Measure], steps: int, rounds: int) -> None:
    best = {(name, mode): 0.0 for name in systems for mode in MODES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for (name, mode), before in best.items():
                times = systems[name](shape, precision, mode, steps, Path(folder))
                best[name, mode] = max(before, shape.tokens / median(times[SKIPPED:]))
    own = max(value for (name, _), value in best.items() if name == "specc")
    other = max(value for (name, _), value in best.items() if name != "specc")
    cells = "".join(f"{value:>18,.0f}" for value in best.values())
    print(f"{shape.name + ' ' + precision:<18}{cells}{own / other:>13.2f}", flush=True)


def _ours(shape: Shape, precision: str, mode: str, steps: int, folder: Path) -> list[float]:
    return ours.step_times(shape, precision, steps, folder, compiled=mode == "compiled")


def _trainer(shape: Shape, precision: str, mode: str, steps: int, folder: Path) -> list[float]:
    del folder
    return _worker([sys.executable, "-m", "benchmarks.throughput.trainer", shape.name, precision, str(steps), mode])


def _litgpt(python: str, shape: Shape, precision: str, mode: str, steps: int, folder: Path) -> list[float]:
    del folder
    settings = {
        **asdict(shape), "vocabulary": shapes.VOCABULARY, "learning_rate": shapes.LEARNING_RATE,
        "weight_decay": shapes.WEIGHT_DECAY, "betas": shapes.BETAS, "max_grad_norm": shapes.MAX_GRAD_NORM,
    }  # fmt: skip
    program = str(ROOT / "benchmarks/throughput/litgpt_worker.py")
    return _worker([python, program, json.dumps(settings), precision, str(steps), mode])


def _worker(command: list[str]) -> list[float]:
    """Seconds of each step: the last line that a worker prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")
    times: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return times


if __name__ == "__main__":
    main()
