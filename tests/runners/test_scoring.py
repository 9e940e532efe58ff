"""Suites that are scored while a model is trained, by real lm-eval on a small corpus."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runners.events import read_events
from tests.conftest import ROOT
from tests.runners.conftest import environment

SPEC = """
specc: 1
name: scored
seed: 3
tokenizer: {{kind: byte}}
model:
  kind: decoder
  hidden_size: 32
  num_layers: 2
  context_length: 64
  attention: {{kind: mha, num_heads: 2}}
  position: {{kind: rope}}
  norm: {{kind: rmsnorm}}
  ffn: {{kind: swiglu, intermediate_size: 64}}
  tie_embeddings: true
  init: {{kind: normal}}
data:
  text: {{sources: {{own: {{path: "{docs}/*.md"}}}}, holdout: 30%}}
suites:
  held_out: {{tasks: [{{task: bits_per_byte, data: text}}]}}
stages:
  pretrain:
    kind: pretrain
    data: text
    duration: 12 steps
    global_batch_size: 4 sequences
    optimizer: {{kind: adamw, learning_rate: 1.0e-2}}
    schedule: {{kind: constant}}
    precision: fp32
    evaluation: {{suites: [held_out], every: 6 steps, limit: 3}}
    sample: {{every: 4 steps, tokens: 8}}
  evaluate: {{kind: evaluate, models: [pretrain], suites: [held_out], limit: 3}}
cluster: {{device: cpu}}
"""


def test_the_last_scores_on_the_way_are_those_of_the_evaluation_after_it(tmp_path: Path) -> None:
    (tmp_path / "scored.yaml").write_text(SPEC.format(docs=ROOT / "docs"))
    command = [sys.executable, "-m", "specc", "run", "scored.yaml"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    (pretrain,) = (tmp_path / "runs/scored").glob("pretrain-*")
    (evaluate,) = (tmp_path / "runs/scored").glob("evaluate-*")
    name = "evaluation/held_out/text_held_out/bits_per_byte"
    metrics = [event for event in read_events(pretrain) if event.get("name") == name]
    (after,) = (event["value"] for event in read_events(evaluate) if event["type"] == "evaluation")
    assert [event["step"] for event in metrics] == [6, 12]
    assert metrics[1]["value"] == after
    assert metrics[0]["value"] > after + 0.01
    samples = [event["step"] for event in read_events(pretrain) if event["type"] == "sample"]
    assert samples == [4, 8, 12]


DIVIDED = (
    "model.pad_vocab_size_multiple=2",
    "cluster={device: cpu, devices_per_node: 2}",
    "stages.pretrain.parallelism={engine: torch, tensor_parallel_size: 2}",
)


def test_a_layout_that_cannot_write_says_so_and_scores_nothing(tmp_path: Path) -> None:
    (tmp_path / "scored.yaml").write_text(SPEC.format(docs=ROOT / "docs"))
    sets = [word for text in DIVIDED for word in ("--set", text)]
    run = [sys.executable, "-m", "specc", "run", "scored.yaml", "pretrain", *sets]
    asked = subprocess.run(run, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert asked.returncode == 1
    said = asked.stdout + asked.stderr
    assert "does not combine tensor parallelism with suites that are scored on the way" in said
    assert not list(tmp_path.glob("runs/*/pretrain-*"))
    without = [*run, "--set", "stages.pretrain.evaluation=null"]
    ended = subprocess.run(without, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert "no samples are written: this layout has no whole model to write with" in ended.stdout
