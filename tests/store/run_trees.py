"""Synthetic run directories, written as docs/runs.md says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from specc.manifest import FILE, Manifest, Setting, StageEntry

T0 = 1_790_000_000.0
ALIBI = {
    "name": ("quickstart", "annotation"),
    "seed": (1234, "identity"),
    "model.hidden_size": (256, "identity"),
    "model.position.kind": ("alibi", "identity"),
    "stages.pretrain.optimizer.learning_rate": (1e-3, "identity"),
    "stages.pretrain.micro_batch_size": (8, "numerics"),
    "cluster.path": ("/data/cluster/a", "execution"),
}
ROPE = {
    **ALIBI,
    "name": ("quickstart@rope", "annotation"),
    "model.position.kind": ("rope", "identity"),
    "model.position.rope_theta": (10000.0, "identity"),
    "stages.pretrain.micro_batch_size": (4, "numerics"),
    "cluster.path": (
        "/data/a/rather/long/path/to/a/cluster/description/that/does/not/fit/into/any/column/of/eighty.yaml",
        "execution",
    ),
    "stages.sft.kind": ("sft", "identity"),
    "stages.sft.duration": ("3 epochs", "identity"),
    "stages.sft.adapter.rank": (16, "identity"),
    "stages.sft.output": ("out", "execution"),
}


def write_plan(
    runs_dir: Path, experiment: str, plan: str, settings: dict[str, tuple[Any, str]], *, total: int = 4_210_688
) -> Path:
    """A manifest in `experiment/plans/plan`."""
    folder = runs_dir / experiment / "plans" / plan
    folder.mkdir(parents=True)
    stages = {
        "pretrain": StageEntry("pretrain", (), "3f2a9c1b77d0", "train.py", {"step_time_s": 0.5}),
        "evaluate": StageEntry("evaluate", ("pretrain",), "77aa01bc33dd", "evaluate.py"),
    }
    manifest = Manifest(
        specc="0.1.0",
        experiment=experiment,
        identity=plan,
        seed=1234,
        model={
            "file": "model.py",
            "class": "Model",
            "parameters": {"total": total, "active": total, "embedding": 65536},
        },
        tokenizer={"kind": "byte", "vocab_size": 256},
        data={},
        stages=stages,
        settings={path: Setting(value, effect) for path, (value, effect) in settings.items()},
        files={},
    )
    (folder / FILE).write_text(manifest.to_json(), encoding="utf-8")
    return folder


def started(
    run: str, *, attempt: int = 1, time: float = T0, plan: str = "aaaaaaaaaaaa", **fields: Any
) -> dict[str, Any]:
    """A `run_started` event."""
    experiment, folder = run.split("/")
    stage, key = folder.rsplit("-", 1)
    return {
        "type": "run_started", "time": time, "attempt": attempt, "run": run, "experiment": experiment,
        "identity": plan, "stage": stage, "kind": stage, "key": key, "plan": f"../plans/{plan}", "seed": 1234,
        "host": "elsewhere", "pid": 4242, "device": "cpu", "git_commit": None, "versions": {"torch": "2.9.0"},
        "resumed_from_step": None, "upstream": {}, **fields,
    }  # fmt: skip


def finished(*, attempt: int = 1, time: float = T0 + 90, **fields: Any) -> dict[str, Any]:
    """A `run_finished` event."""
    return {
        "type": "run_finished", "time": time, "attempt": attempt, "state": "finished", "step": 400, "error": None,
        "seconds": 90.0, **fields,
    }  # fmt: skip


def metric(step: int, name: str, value: float, *, attempt: int = 1) -> dict[str, Any]:
    """A `metric` event."""
    return {"type": "metric", "time": T0 + step / 10, "attempt": attempt, "step": step, "name": name, "value": value}


def evaluation(model: str, value: float, stderr: float | None, **fields: Any) -> dict[str, Any]:
    """An `evaluation` event, of bits per byte where `fields` do not say otherwise."""
    return {
        "type": "evaluation", "time": T0 + 100, "attempt": 1, "model": model, "suite": "core", "task": "stdlib",
        "metric": "bits_per_byte", "value": value, "stderr": stderr, "examples": 512, "num_fewshot": 0,
        "harness": "specc 0.1.0", **fields,
    }  # fmt: skip


def write_events(runs_dir: Path, run: str, events: list[dict[str, Any]]) -> Path:
    """Append events to a run's file."""
    path = runs_dir / run / "events.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    return path


def write_quickstart(runs_dir: Path) -> None:
    """Two experiments, ALiBi and RoPE, each with a pretraining and an evaluation."""
    _experiment(runs_dir, "quickstart", "aaaaaaaaaaaa", ALIBI, ("3f2a9c1b77d0", "77aa01bc33dd"), 0.0)
    _experiment(runs_dir, "quickstart@rope", "bbbbbbbbbbbb", ROPE, ("4c2a9c1b77d0", "88aa01bc33dd"), -0.03)


def _experiment(
    runs_dir: Path, name: str, plan: str, settings: dict[str, tuple[Any, str]], keys: tuple[str, str], shift: float
) -> None:
    write_plan(runs_dir, name, plan, settings)
    pretrain, evaluate = f"{name}/pretrain-{keys[0]}", f"{name}/evaluate-{keys[1]}"
    losses = [metric(step, "train/loss", 5.545 / (1 + step / 150) + 0.9 + shift) for step in range(1, 401)]
    validations = [
        metric(step, "validation/loss", 2.1 - step / 1000 + shift + (step == 400) / 5) for step in (200, 300, 400)
    ]
    speeds = [metric(step, "train/tokens_per_second", 12345.6 + step + 1000 * shift) for step in range(1, 401)]
    said = [
        {"type": kind, "time": T0, "attempt": 1, "name": field, "value": value}
        for kind, field, value in (
            ("prediction", "step_time_s", 0.5), ("measurement", "step_time_s", 0.55 + shift),
            ("prediction", "peak_memory_bytes", 2.0e9), ("measurement", "peak_memory_bytes", 2.2e9 + 1e9 * shift),
            ("prediction", "cost_usd", 0.02),
        )
    ]  # fmt: skip
    write_events(
        runs_dir,
        pretrain,
        [started(pretrain, plan=plan, time=T0 + shift), *losses, *validations, *speeds, *said, finished()],
    )
    write_events(
        runs_dir,
        evaluate,
        [
            started(evaluate, plan=plan, time=T0 + 95 + shift, upstream={"pretrain": pretrain}),
            evaluation("pretrain", 2.0713 + shift, 0.0061),
            evaluation("pretrain", 0.312 - shift / 10, 0.021, task="cloze", metric="acc"),
            evaluation("byte_trigram", 3.0123, 0.0092),
            finished(time=T0 + 130, seconds=35.0, step=None),
        ],
    )
