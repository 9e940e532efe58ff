"""What the training loop costs beside a bare forward, backward, clip and step of the same model, in one process.

python -m benchmarks.overhead [--shape llama_10m] [--steps 40]

Both do the same arithmetic on the same batches in turns, so that a busy moment of the machine hits both: a step of the
bare loop, then one of ours (batches, objective, engine, watching, events). The figure is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.throughput import ours
from benchmarks.throughput.shapes import SHAPES

# Runs in the place of the generated program's last line: our loop, with a bare step between any two of its steps.
INTERLEAVED = '''
import json
import time
from statistics import median

import runners.loop as loop
from runners.init import initialise
from runners.kernels import use_fast_kernels

torch.manual_seed(0)
bare = Model()
initialise(bare, INITIALISATION, PRETRAINING.seed)
use_fast_kernels(Model, bare, torch.device("cpu"), compiled=False)
bare_optimizer = optimizer(bare)
bare_times, own_times = [], []
own_step, own_examples = loop.Training._one_step, loop.Training._examples
batch = []


def examples(self):
    batch[:] = [own_examples(self)]
    return batch[0]


def bare_step(ids, targets):
    """What every training loop has to do."""
    bare_optimizer.zero_grad(set_to_none=True)
    logits = bare(ids)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(bare.parameters(), PRETRAINING.max_grad_norm)
    bare_optimizer.step()
    return loss.item()


def one_step(self):
    began = time.perf_counter()
    told = own_step(self)
    own_times.append(time.perf_counter() - began)
    ids, targets = batch[0].ids, batch[0].targets
    for group in bare_optimizer.param_groups:
        group["lr"] = told[2]
    began = time.perf_counter()
    loss = bare_step(ids, targets)
    bare_times.append(time.perf_counter() - began)
    assert abs(loss - told[0]) < 1e-4, (loss, told[0])
    return told


loop.Training._one_step, loop.Training._examples = one_step, examples
if __name__ == "__main__":
    pretrain(Model, Cache, PRETRAINING, INITIALISATION, optimizer, learning_rate)
    print("RESULT", json.dumps([median(own_times[5:]), median(bare_times[5:])]))
'''


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="llama_10m", choices=tuple(SHAPES))
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # A first run makes the data and the plan.
        ours.step_times(SHAPES[options.shape], "fp32", options.steps, folder, compiled=False)
        (program,) = (folder / "runs").glob("*/plans/*/train.py")
        text = program.read_text(encoding="utf-8")
        program.write_text(text[: text.index('if __name__ == "__main__":')] + INTERLEAVED, encoding="utf-8")
        command = [sys.executable, str(program), "--run", str(program.parents[2] / "interleaved")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    own, bare = (float(word) for word in line.removeprefix("RESULT [").removesuffix("]").split(","))
    print(f"{options.shape}: ours {own * 1e3:.1f} ms a step, bare {bare * 1e3:.1f} ms, ratio {own / bare:.3f}")


if __name__ == "__main__":
    main()
