"""Encoders and encoder-decoders are trained by the programs that are generated for them."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from runners import checkpoint
from runners.events import read_events
from tests.conftest import ROOT

SPEC = """\
extends: presets/tiny.yaml
model:
  kind: {kind}
  hidden_size: 32
  num_layers: 2
  context_length: 128
  attention: {{kind: mha, num_heads: 2}}
  position: {{kind: relative}}
  norm: {{kind: rmsnorm}}
  ffn: {{kind: relu, intermediate_size: 64}}
  tie_embeddings: true
stages:
  pretrain:
    duration: 20 steps
    objective: {{kind: {objective}}}
    optimizer: {{kind: adamw, learning_rate: 1.0e-2}}
    schedule: {{kind: constant}}
    parallelism: {{activation_checkpointing: full}}
"""
OBJECTIVES = {"masked": "encoder", "span_corruption": "encoder_decoder"}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_generated_program_trains_its_model(objective: str, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    words = (ROOT / "docs/language.md").read_text(encoding="utf-8").split()
    for start in range(0, len(words), 3):
        (text / f"{start}.txt").write_text(" ".join(words[start : start + 60]), encoding="utf-8")
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(kind=OBJECTIVES[objective], objective=objective), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "specc", "run", str(spec)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (path.parent for path in tmp_path.rglob("events.jsonl"))
    losses = [event["value"] for event in read_events(run) if event.get("name") == "validation/loss"]
    assert losses[-1] < losses[0] < 2 * math.log(300)
    names = set(checkpoint.required(run).weights())
    assert ("encoder.layers.1.ffn.up_proj.weight" in names) == (objective == "span_corruption")
