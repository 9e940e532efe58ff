"""From a spec with an average of the weights to a folder for transformers that holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runners import checkpoint
from runners.events import read_events

SPEC = """
extends: presets/tiny.yaml
name: smooth
data: {text: {holdout: 20%}}
stages:
  pretrain:
    duration: 12 steps
    schedule: {warmup: 1 step}
    global_batch_size: 4 sequences
    optimizer: {kind: adamw_8bit, learning_rate: 1.0e-2}
    batch_size_schedule: {start: 1 sequence, increment: 1 sequence, duration: 6 steps}
    z_loss: 1.0e-4
    loss_chunk: 100 tokens
    ema: {decay: 0.9, every: 2 steps}
  export: {kind: export, from: pretrain, format: huggingface, weights: ema}
"""


SCORED = """
extends: presets/tiny.yaml
name: smooth
data: {text: {holdout: 20%}}
suites: {held_out: {tasks: [{task: bits_per_byte, data: text}]}}
stages:
  pretrain: {duration: 12 steps, schedule: {warmup: 1 step}, ema: {decay: DECAY}}
  last: {kind: evaluate, models: [pretrain], suites: [held_out]}
  average: {kind: evaluate, models: [pretrain], suites: [held_out], weights: ema}
"""


def with_text(folder: Path, spec: str) -> None:
    """The spec beside forty documents, run to its end."""
    (folder / "spec.yaml").write_text(spec, encoding="utf-8")
    (folder / "text").mkdir()
    for number in range(40):
        text = f"document {number}: a stage with every part of its mathematics. " * 20
        (folder / "text" / f"{number}.txt").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "specc", "run", "spec.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def score(folder: Path, stage: str) -> float:
    """Bits per byte that an evaluation measured."""
    (run,) = folder.glob(f"runs/smooth/{stage}-*")
    (found,) = (event["value"] for event in read_events(run) if event["type"] == "evaluation")
    return float(found)


@pytest.mark.slow
def test_an_evaluation_of_the_average_reads_the_average(tmp_path: Path) -> None:
    """An average that forgets at once is the last weights; one that hardly moves has learnt less."""
    scores = {}
    for decay in ("1.0e-9", "0.99"):
        folder = tmp_path / decay
        folder.mkdir()
        with_text(folder, SCORED.replace("DECAY", decay))
        scores[decay] = score(folder, "last"), score(folder, "average")
    last, average = scores["1.0e-9"]
    assert average == pytest.approx(last, abs=1e-6)
    last, average = scores["0.99"]
    assert average > last + 0.1


@pytest.mark.slow
def test_the_average_of_a_run_is_what_an_export_of_it_writes(tmp_path: Path) -> None:
    with_text(tmp_path, SPEC)
    (run,) = tmp_path.glob("runs/smooth/pretrain-*")
    found = checkpoint.required(run)
    assert found.tokens == 128 * (2 * 1 + 2 * 2 + 2 * 3 + 6 * 4)
    (file,) = tmp_path.glob("runs/smooth/export-*/huggingface/model.safetensors")
    written = load_file(file)
    averages, last = found.averaged().weights(), found.weights()
    ours, theirs = "layers.1.ffn.down_proj.weight", "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(written[theirs].float(), averages[ours].to(written[theirs].dtype).float())
    assert not torch.equal(averages[ours], last[ours])
