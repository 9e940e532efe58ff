"""A compiled experiment of a few thousand weights over a small corpus."""

from __future__ import annotations

import dataclasses
import os
import random
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runners.events import open_events
from specc.manifest import FILE, Manifest, Setting, StageEntry

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BYTE = {"kind": "byte", "vocab_size": 257, "end_of_document": 256}


@dataclass(frozen=True)
class Experiment:
    folder: Path
    plan: Path
    manifest: Manifest

    def command(self, program: str, run: str, *arguments: str) -> list[str]:
        return [sys.executable, str(self.plan / program), "--run", str(self.folder / run), *arguments]

    def start(self, program: str, run: str, *arguments: str) -> subprocess.Popen[str]:
        command = self.command(program, run, *arguments)
        return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def execute(self, program: str, run: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command(program, run, *arguments)
        return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)

    def execute_here(self, monkeypatch: pytest.MonkeyPatch, program: str, run: str, *arguments: str) -> int:
        """Exit code of the program, run in this process: for what needs no process of its own."""
        monkeypatch.syspath_prepend(str(self.plan))
        monkeypatch.delitem(sys.modules, "model", raising=False)
        monkeypatch.setattr(sys, "argv", self.command(program, run, *arguments)[1:])
        try:
            runpy.run_path(str(self.plan / program), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    def change(self, old: str, new: str, program: str = "train.py") -> None:
        text = (self.plan / program).read_text()
        assert old in text
        (self.plan / program).write_text(text.replace(old, new))

    def declare(self, **fields: Any) -> Manifest:
        manifest = dataclasses.replace(self.manifest, **fields)
        (self.plan / FILE).write_text(manifest.to_json())
        return manifest

    def began_and_now(self, run: Path, before: dict[str, str], now: dict[str, str], state: str | None = None) -> None:
        """Record that a run of `pretrain` began under a plan with other numerics than the plan has now."""
        first = self.plan.with_name("ba9876543210")
        first.mkdir()
        for values in (before, now):
            settings = {f"stages.pretrain.{name}": Setting(value, "numerics") for name, value in values.items()}
            settings["stages.pretrain.log_every"] = Setting(len(values) + (values is before), "execution")
            settings["stages.evaluate.precision"] = Setting(f"other {values is before}", "numerics")
            text = self.declare(settings=settings).to_json()
            if values is before:
                (first / FILE).write_text(text)
        with open_events(run) as events:
            events.write("run_started", plan=os.path.relpath(first, run))
            if state is not None:
                events.write("run_finished", state=state, step=1, error=None, seconds=0.0)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """60 files of pseudo-words: enough structure for a trigram to beat a unigram."""
    draw = random.Random(0)
    words = ["".join(draw.choices("aeioulnrst", k=draw.randint(2, 7))) for _ in range(80)]
    folder = tmp_path / "corpus"
    for index in range(60):
        path = folder / f"part{index % 3}" / f"file{index}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(draw.choices(words, k=300)) + "\n")
    return folder


@pytest.fixture
def experiment(tmp_path: Path, corpus: Path) -> Experiment:
    folder = tmp_path / "runs" / "tiny"
    plan = folder / "plans" / "0123456789ab"
    shutil.copytree(HERE / "plan", plan, ignore=shutil.ignore_patterns("__pycache__"))
    stages = {
        "pretrain": StageEntry("pretrain", (), "aaaaaaaaaaaa", "train.py", {"step_time_s": 0.1, "cost_usd": None}),
        "evaluate": StageEntry("evaluate", ("pretrain",), "bbbbbbbbbbbb", "evaluate.py"),
        "sft": StageEntry("sft", ("pretrain",), "cccccccccccc", None),
    }
    data = {"corpus": {"sources": {"main": {"path": f"{corpus}/**/*.py"}}, "filters": [], "holdout": {"fraction": 0.1}}}
    model = {"file": "model.py", "class": "Model", "parameters": {"total": 1, "active": 1, "embedding": 1}}
    manifest = Manifest("0.1.0", "tiny", "dddddddddddd", 7, model, dict(BYTE), data, stages, {}, {})
    (plan / FILE).write_text(manifest.to_json())
    return Experiment(folder, plan, manifest)
