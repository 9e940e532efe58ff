"""A compiled program: the curve of the one that is not, and the same bits each time, also after it was killed."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from runners.engines.torch_engine import be_deterministic
from runners.events import read_events
from tests.engines.test_parallel_spec import assert_same_curve, command, train, written

ALONE = ("cluster.devices_per_node=1", "model.position={kind: rope}")
PLAIN = "stages.pretrain.parallelism={engine: torch}"
COMPILED = "stages.pretrain.parallelism={engine: torch, compile: true}"
# 16 bits, sequences that are long enough for every kernel of our choice, and checkpoints on the way.
NARROW = (
    COMPILED,
    "model.context_length=160",
    "stages.pretrain.precision=bf16",
    "stages.pretrain.duration=40 steps",
    "stages.pretrain.checkpoint.every=4 steps",
)


@pytest.mark.slow
def test_a_compiled_program_has_the_curve_of_the_plain_one(tmp_path: Path) -> None:
    spec = written(tmp_path)
    plain, compiled = (train(spec, tmp_path / name, *ALONE, sets) for name, sets in (("p", PLAIN), ("c", COMPILED)))
    assert_same_curve(compiled, plain)


@pytest.mark.slow
def test_a_compiled_run_ends_with_the_same_bits_whether_it_was_killed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # threads that add to the same number are what could differ
    spec = written(tmp_path)
    whole = train(spec, tmp_path / "whole", *ALONE, *NARROW)
    again = command(spec, tmp_path, *ALONE, *NARROW)
    with subprocess.Popen(again, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        killed(tmp_path, process)
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "resuming from step" in done.stdout
    (events,) = tmp_path.glob("runs/*/pretrain-*/events.jsonl")
    assert weights(events.parent) == weights(whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the compiler imports
def test_the_gradient_of_an_embedding_is_the_same_each_time() -> None:
    was, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    torch.set_num_threads(2)
    be_deterministic(torch.device("cpu"))
    try:
        torch.manual_seed(0)
        table, ids = torch.randn(50, 384, requires_grad=True), torch.randint(0, 50, (2048,))
        weight = torch.randn(2048, 384)
        loss = torch.compile(lambda: (F.embedding(ids, table) * weight).sum())
        first, *others = [torch.autograd.grad(loss(), table)[0] for _ in range(10)]
        assert all(torch.equal(one, first) for one in others)
    finally:
        torch.use_deterministic_algorithms(was)
        torch.set_num_threads(threads)


def killed(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """The program that the command started, once it is past a checkpoint."""
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        for events in folder.glob("runs/*/pretrain-*/events.jsonl"):
            if any(event.get("step", 0) >= 6 for event in read_events(events.parent)):
                subprocess.run(["pkill", "-9", "-f", str(folder / "runs")], check=True)
                return
        time.sleep(0.05)
    raise AssertionError("it never came to step 6")


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of every file of tensors of the last checkpoint."""
    last = max((run / "checkpoints").iterdir())
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in last.rglob("*.safetensors")}
    assert found
    return found
