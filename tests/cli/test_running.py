"""From a spec to a row in the database, with real processes on a small corpus."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Specc

SPEC = """
extends: presets/tiny.yaml
name: small
model: {position: {kind: alibi}, hidden_size: 32, ffn: {intermediate_size: 64}, context_length: 64}
data: {text: {sources: {files: {path: "text/*.txt"}}, holdout: 20%}}
suites: {held_out: {tasks: [{task: bits_per_byte, data: text}]}}
stages:
  pretrain:
    duration: 40 steps
    schedule: {warmup: 5 steps}
    checkpoint: {every: 10 steps}
    validation: {every: 20 steps, batches: 2}
    log_every: 5 steps
    sample: {prompt: "the ", tokens: 16}
  evaluate:
    kind: evaluate
    models: [pretrain]
    suites: [held_out]
    baselines: [{kind: byte_trigram, data: text}]
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with the spec and sixty small documents of a language with a little structure."""
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (tmp_path / "text").mkdir()
    words = random.Random(1)
    for index in range(60):
        text = " ".join(words.choice(["the", "cat", "sat", "on", "a", "mat", "dog"]) for _ in range(120))
        (tmp_path / "text" / f"{index}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def question(specc: Specc, query: str) -> list[list[str]]:
    said = specc("sql", "--format", "csv", query)
    assert said.code == 0, said.err
    return list(csv.reader(io.StringIO(said.out)))[1:]


def test_a_spec_becomes_rows_that_answer_sql(specc: Specc, workplace: Path) -> None:
    said = specc("run", "spec.yaml")
    assert said.code == 0, said.err
    rows = question(specc, "SELECT run, step, value FROM metrics WHERE name = 'train/loss' ORDER BY step DESC LIMIT 5")
    assert [int(step) for _, step, _ in rows] == [40, 35, 30, 25, 20]
    scores = dict(question(specc, "SELECT model, value FROM evaluations WHERE metric = 'bits_per_byte'"))
    assert set(scores) == {"pretrain", "byte_trigram"}
    assert all(0 < float(score) < 8 for score in scores.values())
    predicted = question(specc, "SELECT name FROM predictions_vs_measurements WHERE measured IS NOT NULL")
    assert ["step_time_s"] in predicted
    again = specc("run", "spec.yaml")
    assert again.out.count("is complete already") == 2
    assert specc("run", "spec.yaml", "--set", "model.position.kind=rope").code == 0
    differs = json.loads(specc("compare", "small", "small@rope", "--format", "json").out)
    paths = {row["path"] for row in differs["settings"]}
    assert paths >= {"model.position.kind", "model.position.rope_theta"}
    assert all(path.startswith("model.position.") for path in paths)
    listed = specc("runs", "--format", "json")
    assert {run["experiment"] for run in json.loads(listed.out)} == {"small", "small@rope"}


def test_a_killed_run_resumes_and_says_from_which_step(specc: Specc, workplace: Path) -> None:
    longer = ("--set", "stages.pretrain.duration=4000 steps", "pretrain")
    command = [sys.executable, "-m", "specc", "run", "spec.yaml", *longer]
    running = subprocess.Popen(
        command, cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for(workplace, '"checkpoint"')
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    (experiment,) = (workplace / "runs").glob("small*")
    saved = max(int(path.name.removeprefix("step-")) for path in experiment.glob("pretrain-*/checkpoints/step-*"))
    reported = steps(experiment)
    resumed = subprocess.Popen(command, cwd=workplace, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert resumed.stdout is not None
    try:
        lines = [next(resumed.stdout) for _ in range(2)]
        time.sleep(1)
    finally:
        os.killpg(resumed.pid, signal.SIGKILL)
        resumed.communicate()
    assert any(f"resuming from step {saved:,}" in line for line in lines), lines
    assert steps(experiment) >= reported, "what was reported before the kill is still there"


def test_a_run_does_not_count_as_complete_on_other_texts(specc: Specc, workplace: Path) -> None:
    assert specc("run", "spec.yaml", "pretrain").code == 0
    (workplace / "text/0.txt").write_text("something else altogether, " * 40, encoding="utf-8")
    said = specc("run", "spec.yaml", "pretrain")
    assert said.code == 1
    assert "run it again with --fresh" in said.err
    assert specc("run", "spec.yaml", "pretrain", "--fresh").code == 0
    assert [run.name.rpartition("-")[2] for run in (workplace / "runs/small").glob("pretrain-*-2")] == ["2"]


def steps(experiment: Path) -> set[int]:
    (events,) = experiment.glob("pretrain-*/events.jsonl")
    whole = [line for line in events.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    parsed = [json.loads(line) for line in whole if line.startswith("{")]
    return {event["step"] for event in parsed if event["type"] == "metric"}


def wait_for(workplace: Path, words: str) -> None:
    """Until a run has written an event, at most two minutes."""
    for _ in range(1200):
        files = list(workplace.glob("runs/*/pretrain-*/events.jsonl"))
        if files and words in files[0].read_text(encoding="utf-8"):
            return
        time.sleep(0.1)
    raise AssertionError(f"no {words} within two minutes")


def test_a_stage_without_its_upstream_is_refused(specc: Specc, workplace: Path) -> None:
    said = specc("run", "spec.yaml", "evaluate")
    assert said.code == 1
    assert "stage `evaluate` reads `pretrain`, which is not complete" in said.err
    assert "Traceback" not in said.err


def test_a_run_of_stages_that_have_no_code_starts_nothing(specc: Specc, tmp_path: Path) -> None:
    said = specc("run", str(ROOT / "specs/70b_alibi.yaml"))
    assert said.code == 1
    assert "error[SPC810]" in said.err
    assert not (tmp_path / "runs").exists()


def test_data_with_filters_is_refused_before_training(specc: Specc, workplace: Path) -> None:
    said = specc("run", "spec.yaml", "pretrain", "--set", "data.text.filters=[{kind: gopher_quality}]")
    assert said.code == 1
    assert "does not run them" in said.err or "filters" in said.err
    assert "Traceback" not in said.err
