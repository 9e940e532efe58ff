"""A worker: a spec, compiled and run as a user would, and the time of each step that its events tell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.throughput import shapes
from benchmarks.throughput.shapes import Shape

GPT2 = """
  attention: {{kind: mha, num_heads: {heads}, bias: all}}
  position: {{kind: learned, num_positions: {context}}}
  norm: {{kind: layernorm}}
  ffn: {{kind: gelu, approximate: tanh, intermediate_size: {inner}, bias: true}}
  tie_embeddings: true
"""
LLAMA = """
  attention: {{kind: mha, num_heads: {heads}}}
  position: {{kind: rope}}
  norm: {{kind: rmsnorm}}
  ffn: {{kind: swiglu, intermediate_size: {inner}}}
  tie_embeddings: false
"""
SPEC = """
specc: 1
name: {name}
seed: 1
tokenizer: {{kind: byte}}
model:
  kind: decoder
  hidden_size: {hidden}
  num_layers: {layers}
  context_length: {context}
  pad_vocab_size_multiple: {vocabulary}
  init: {{kind: normal}}{architecture}
data:
  text: {{sources: {{own: {{path: "{corpus}/*.txt"}}}}, holdout: 20%}}
stages:
  pretrain:
    kind: pretrain
    data: text
    duration: {steps} steps
    global_batch_size: {batch} sequences
    optimizer: {{kind: adamw, learning_rate: {rate}, weight_decay: {decay}}}
    schedule: {{kind: constant, warmup: 1 steps}}
    max_grad_norm: {clip}
    precision: {precision}
    log_every: 1 steps
    validation: {{every: {steps} steps, batches: 1}}
    checkpoint: {{every: {steps} steps, keep_last: 1}}
    parallelism: {{engine: torch, micro_batch_size: {batch}, activation_checkpointing: none, compile: {compile}}}
    sample: {{tokens: 1}}
cluster: {{device: cpu}}
"""


DOCUMENTS = 40
"""Files of 50,000 bytes each."""


def step_times(shape: Shape, precision: str, steps: int, folder: Path, *, compiled: bool) -> list[float]:
    """Seconds of each step of the loop, all that belongs to a step included."""
    corpus = folder / "corpus"
    if not corpus.exists():
        corpus.mkdir()
        for number in range(DOCUMENTS):
            text = bytes((index * index + number * index // 7) % 96 + 32 for index in range(50_000))
            (corpus / f"{number}.txt").write_bytes(text)
    architecture = (GPT2 if shape.style == "gpt2" else LLAMA).format(
        heads=shape.num_heads, context=shape.context_length, inner=shape.intermediate_size
    )
    name = f"{shape.name}_{precision}_{'compiled' if compiled else 'eager'}"
    text = SPEC.format(
        name=name,
        hidden=shape.hidden_size,
        layers=shape.num_layers,
        context=shape.context_length,
        vocabulary=shapes.VOCABULARY,
        architecture=architecture.rstrip(),
        corpus=corpus,
        steps=steps,
        batch=shape.batch_size,
        rate=f"{shapes.LEARNING_RATE:.1e}",
        decay=shapes.WEIGHT_DECAY,
        clip=shapes.MAX_GRAD_NORM,
        precision=precision,
        compile=str(compiled).lower(),
    )
    (folder / f"{name}.yaml").write_text(text)
    command = [sys.executable, "-m", "specc", "run", f"{name}.yaml", "--fresh"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
    newest = max((folder / "runs" / name).glob("pretrain-*"), key=lambda run: run.stat().st_mtime)
    events = [json.loads(line) for line in (newest / "events.jsonl").read_text().splitlines()]
    speeds = [event["value"] for event in events if event.get("name") == "train/tokens_per_second"]
    return [shape.tokens / speed for speed in speeds if isinstance(speed, float)]
