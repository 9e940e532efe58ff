"""From a spec with an average of the weights to a folder for transformers that holds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runners import checkpoint

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


@pytest.mark.slow
def test_the_average_of_a_run_is_what_an_export_of_it_writes(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "text").mkdir()
    for number in range(40):
        text = f"document {number}: a stage with every part of its mathematics. " * 20
        (tmp_path / "text" / f"{number}.txt").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "specc", "run", "spec.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (run,) = tmp_path.glob("runs/smooth/pretrain-*")
    found = checkpoint.required(run)
    assert found.tokens == 128 * (2 * 1 + 2 * 2 + 2 * 3 + 6 * 4)
    (file,) = tmp_path.glob("runs/smooth/export-*/huggingface/model.safetensors")
    written = load_file(file)
    averages, last = found.averaged().weights(), found.weights()
    ours, theirs = "layers.1.ffn.down_proj.weight", "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(written[theirs].float(), averages[ours].to(written[theirs].dtype).float())
    assert not torch.equal(averages[ours], last[ours])
