"""`specs/parallel.yaml`: from the spec to the losses of two processes, which are those of one."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tests.conftest import ROOT
from tests.engines.reference import LOSS_TOLERANCE, NORM_TOLERANCE
from tests.runners.test_pretrain import curve

SMALL = (
    "model.hidden_size=64",
    "model.num_layers=2",
    "model.context_length=64",
    "model.ffn.intermediate_size=128",
    "data.corpus={sources: {text: {kind: files, path: text/*.txt}}, holdout: 5%}",
    "stages.pretrain.data=corpus",
    "stages.pretrain.duration=8 steps",
    "stages.pretrain.schedule.warmup=2 steps",
    "stages.pretrain.log_every=1 steps",
    "stages.pretrain.validation={every: 8 steps, batches: 1}",
    "stages.pretrain.checkpoint.every=8 steps",
)
LAYOUTS = {
    "alone": ("cluster.devices_per_node=1", "stages.pretrain.parallelism={engine: torch}"),
    "as written": (),
    "tensor": ("stages.pretrain.parallelism={engine: torch, tensor_parallel_size: 2}",),
    "pipeline": ("stages.pretrain.parallelism={engine: torch, pipeline_parallel_size: 2, micro_batch_size: 2}",),
    "context": ("stages.pretrain.parallelism={engine: torch, context_parallel_size: 2}",),
    "ring": ("stages.pretrain.parallelism={engine: torch, context_parallel_size: 2, context_parallel_kind: ring}",),
    "deepspeed": ("stages.pretrain.parallelism={engine: deepspeed, zero_stage: 2}",),
    "deepspeed tensor": ("stages.pretrain.parallelism={engine: deepspeed, tensor_parallel_size: 2}",),
}
EXPERTS = "model.ffn={kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 64}"


@pytest.mark.slow
def test_every_way_to_spread_the_spec_over_two_processes_gives_the_losses_of_one(tmp_path: Path) -> None:
    spec = written(tmp_path)
    runs = {name: train(spec, tmp_path / str(index), *sets) for index, (name, sets) in enumerate(LAYOUTS.items())}
    alone = runs.pop("alone")
    for run in runs.values():
        assert_same_curve(run, alone)


@pytest.mark.slow
def test_experts_of_the_spec_are_divided_with_the_losses_of_one_process(tmp_path: Path) -> None:
    spec = written(tmp_path)
    alone = train(spec, tmp_path / "alone", EXPERTS, *LAYOUTS["alone"])
    asked = "stages.pretrain.parallelism={engine: torch, zero_stage: 3, expert_parallel_size: 2}"
    assert_same_curve(train(spec, tmp_path / "divided", EXPERTS, asked), alone)


GROWING = (
    "tokenizer={kind: pretrained, path: tok, vocab_size: 340, end_of_document: 0}",
    "stages.pretrain.curriculum={vocabulary: [{until: 4 steps, merges: 8}]}",
    "stages.pretrain.log_every=1 steps",
)


@pytest.mark.slow
def test_a_vocabulary_that_grows_grows_alike_on_two_processes(tmp_path: Path) -> None:
    spec = written(tmp_path)
    save_encoding(tmp_path / "tok", [path.read_text() for path in (tmp_path / "text").iterdir()])
    alone = train(spec, tmp_path / "alone", *GROWING, *LAYOUTS["alone"])
    assert_same_curve(train(spec, tmp_path / "two", *GROWING), alone)
    per_byte, per_token = curve(alone, "train/bits_per_byte"), curve(alone)
    bytes_per_token = {step: per_token[step] / math.log(2) / per_byte[step] for step in per_token}
    assert max(bytes_per_token[step] for step in range(1, 5)) < min(bytes_per_token[step] for step in range(5, 9))


def save_encoding(folder: Path, texts: list[str]) -> None:
    """A byte-level encoding of some dozens of merges."""
    folder.mkdir()
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer, found.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    found.train_from_iterator(texts, trainer)
    found.save(str(folder / "tokenizer.json"))


def assert_same_curve(run: Path, alone: Path) -> None:
    """Losses and norms of every step."""
    for name, tolerance in (("train/loss", LOSS_TOLERANCE), ("train/grad_norm", NORM_TOLERANCE)):
        wanted = curve(alone, name)
        assert len(wanted) == 8
        assert curve(run, name) == pytest.approx(wanted, abs=tolerance, rel=0), run


def written(folder: Path) -> Path:
    """The spec beside a text of its own."""
    (folder / "text").mkdir()
    for index in range(40):
        words = " ".join(f"{index * number % 97} is the word" for number in range(200))
        (folder / "text" / f"{index}.txt").write_text(words, encoding="utf-8")
    path = folder / "spec.yaml"
    path.write_text(f"extends: {ROOT / 'specs/parallel.yaml'}\n", encoding="utf-8")
    return path


def train(spec: Path, folder: Path, *sets: str) -> Path:
    """The run of the pretraining stage."""
    folder.mkdir()
    done = subprocess.run(command(spec, folder, *sets), cwd=spec.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (events,) = folder.glob("runs/*/pretrain-*/events.jsonl")
    return events.parent


def command(spec: Path, folder: Path, *sets: str) -> list[str]:
    """What a user would type for the pretraining stage."""
    options = [part for override in (*SMALL, *sets) for part in ("--set", override)]
    return [sys.executable, "-m", "specc", "run", str(spec), "pretrain", *options, "--runs", str(folder / "runs")]
