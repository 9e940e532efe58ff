"""`specs/parallel.yaml`: from the spec to the losses of two processes, which are those of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    options = [part for override in (*SMALL, *sets) for part in ("--set", override)]
    command = [sys.executable, "-m", "specc", "run", str(spec), "pretrain", *options, "--runs", str(folder / "runs")]
    done = subprocess.run(command, cwd=spec.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (events,) = folder.glob("runs/*/pretrain-*/events.jsonl")
    return events.parent
