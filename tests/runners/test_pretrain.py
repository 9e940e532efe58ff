from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from runners import checkpoint, loop, pretrain
from runners.engines.recompute import recompute_activations
from runners.engines.torch_engine import single
from runners.events import open_events, read_events
from runners.objective.examples import next_token

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment


def curve(run: Path, name: str = "train/loss") -> dict[int, float]:
    """By step, the value of the highest attempt."""
    found: dict[int, tuple[int, float]] = {}
    for event in read_events(run):
        if event["type"] == "metric" and event["name"] == name:
            found[event["step"]] = max(found.get(event["step"], (0, 0.0)), (event["attempt"], event["value"]))
    return {step: value for step, (_, value) in found.items()}


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while max(curve(run), default=0) < step:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return checkpoint.required(run).weights()


def of_type(run: Path, kind: str) -> list[dict[str, Any]]:
    return [dict(event) for event in read_events(run) if event["type"] == kind]


def test_a_killed_and_resumed_run_ends_with_the_same_bits(experiment: Experiment) -> None:
    whole = experiment.execute("train.py", "whole")
    assert whole.returncode == 0, whole.stderr
    process = experiment.start("train.py", "killed")
    wait_for_step(experiment.folder / "killed", 73, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = experiment.execute("train.py", "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from step" in resumed.stdout
    one, other = experiment.folder / "whole", experiment.folder / "killed"
    assert curve(one) == curve(other)
    assert curve(one, "validation/loss") == curve(other, "validation/loss")
    assert all(torch.equal(weight, weights(other)[name]) for name, weight in weights(one).items())
    found = [checkpoint.required(run) for run in (one, other)]
    assert found[0].names() == found[1].names()
    assert all(torch.equal(found[0].tensor(name), found[1].tensor(name)) for name in found[0].names("optimizer/"))
    assert [event["resumed_from_step"] is None for event in of_type(other, "run_started")] == [True, False]
    again = experiment.execute("train.py", "killed")
    assert again.returncode == 0
    assert "already complete" in again.stdout
    assert len(of_type(other, "run_started")) == 2
    assert len(of_type(one, "run_finished")) == 1
    names = {event["name"] for event in of_type(one, "measurement")}
    common = {"parameters", "duration_s", "memory_bytes", "checkpoint_bytes"}
    assert names == common | {"step_time_s", "tokens_per_second"}
    assert [event["name"] for event in of_type(one, "prediction")] == ["step_time_s"]
    assert [(event["step"], event["prompt"]) for event in of_type(one, "sample")] == [(200, "def ")]
    assert len(list((one / "checkpoints").iterdir())) == 2
    losses = curve(one)
    assert losses[200] < losses[1] - 1.5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR2, 140)])
def test_a_signal_saves_the_step_and_the_run_can_be_continued(
    experiment: Experiment, number: signal.Signals, code: int
) -> None:
    experiment.change("checkpoint_every=10", "checkpoint_every=1_000")
    process = experiment.start("train.py", "run")
    wait_for_step(experiment.folder / "run", 20, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    run = experiment.folder / "run"
    assert process.returncode == code
    assert f"{number.name}: stopped after step" in errors
    assert "Traceback" not in errors
    assert checkpoint.required(run).step == max(curve(run))
    assert not of_type(run, "run_finished")


def test_accumulated_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 10))
    rows = torch.randint(0, 10, (6, 5))
    norms = []
    for size in (6, 4, 1):
        engine = single(model, torch.optim.SGD(model.parameters()), torch.device("cpu"), "fp32", size, None)
        norms.append(engine.gradients(next_token(rows)))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert norms[0] == pytest.approx(norms[2], rel=1e-6)


def test_recomputed_activations_give_the_same_gradients_and_names() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 10)))
    engine = single(model, torch.optim.SGD(model.parameters()), torch.device("cpu"), "fp32", 4, 1.0)
    rows, names = torch.randint(0, 10, (4, 5)), [name for name, _ in model.named_parameters()]
    before = engine.gradients(next_token(rows))
    recompute_activations(model[1].children())
    assert engine.gradients(next_token(rows)) == before
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('engine="torch"', 'engine="other"', "and the plan says `other`"),
        ('precision="fp32"', 'precision="fp8"', "fp8 needs a GPU of compute capability 8.9"),
        ("micro_batch_size=4", "micro_batch_size=2", "global_batch_size is 4"),
        ('data="corpus"', 'data="other"', "declares no data set `other`"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line_and_recorded(
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    message: str,
) -> None:
    experiment.change(old, new)
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert len(errors.splitlines()) == 1
    (finished,) = of_type(experiment.folder / "run", "run_finished")
    assert finished["state"] == "failed"
    assert message in finished["error"]


def test_a_loss_that_is_no_number_stops_the_run_with_a_plain_error(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.change("return 1e-2 * min(1.0, (step + 1) / 10)", "return 1e30")
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 1
    assert "a lower learning rate" in capsys.readouterr().err
    assert of_type(experiment.folder / "run", "run_finished")[0]["state"] == "failed"


def test_validation_scores_the_same_windows_for_any_micro_batch(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    windows = pretrain.validation_windows
    monkeypatch.setattr(pretrain, "validation_windows", lambda *given: seen.append(windows(*given)) or seen[-1])
    experiment.change("steps=200", "steps=2")
    assert experiment.execute_here(monkeypatch, "train.py", "whole") == 0
    experiment.change("micro_batch_size=4", "micro_batch_size=1")
    experiment.change("gradient_accumulation_steps=1", "gradient_accumulation_steps=4")
    assert experiment.execute_here(monkeypatch, "train.py", "parts") == 0
    assert [len(rows) for rows in seen] == [2 * 4, 2 * 4]
    assert torch.equal(*seen)
    one, other = (curve(experiment.folder / run, "validation/loss")[2] for run in ("whole", "parts"))
    assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize(("prompt", "most"), [("def ", 32 - 5), ("x" * 40, 0)])
def test_a_sample_ends_with_the_learned_positions(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, prompt: str, most: int
) -> None:
    experiment.change("steps=200", "steps=2")
    experiment.change("sample_tokens=8", "sample_tokens=100")
    experiment.change('sample_prompt="def "', f'sample_prompt="{prompt}"')
    experiment.change(
        "        self.embedding = nn.Embedding(V, D)\n",
        "        self.embedding = nn.Embedding(V, D)\n        self.position_embedding = nn.Embedding(32, D)\n",
        "model.py",
    )
    experiment.change(
        "x_BTD = self.embed(ids_BT)",
        "x_BTD = self.embed(ids_BT) + self.position_embedding(torch.arange(start, start + ids_BT.shape[1]))",
        "model.py",
    )
    asked: list[int] = []
    generate = loop.generate

    def spy(*given: Any, **more: Any) -> torch.Tensor:
        asked.append(given[3])
        return generate(*given, **{**more, "stop": lambda _: False})

    monkeypatch.setattr(loop, "generate", spy)
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 0
    assert asked == [most]
    assert len(of_type(experiment.folder / "run", "sample")) == 1


def began_under(experiment: Experiment, **before: str) -> None:
    """A run that began under a plan with these numerics and was stopped; the plan of now says fp32 and none."""
    now = {"precision": "fp32", "activation_checkpointing": "none"}
    experiment.began_and_now(experiment.folder / "run", now | before, now)


def test_a_run_does_not_go_on_in_another_precision(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began_under(experiment, precision="bf16")
    lines = (experiment.folder / "run" / "events.jsonl").read_text()
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 1
    said = capsys.readouterr().err
    assert "began with stages.pretrain.precision bf16, and the plan now says fp32: use --fresh" in said
    assert (experiment.folder / "run" / "events.jsonl").read_text() == lines


def test_other_numerics_are_told_when_a_run_goes_on(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began_under(experiment, activation_checkpointing="full")
    experiment.change("steps=200", "steps=2")
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "began with stages.pretrain.activation_checkpointing full and not none; it goes on" in first


def test_a_run_whose_first_plan_is_gone_goes_on(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_events(experiment.folder / "run") as events:
        events.write("run_started", plan="../plans/gone")
    experiment.change("steps=200", "steps=2")
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 0
    assert "began with" not in capsys.readouterr().out


def test_bf16_and_recomputed_activations_run(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment.change('precision="fp32"', 'precision="bf16"')
    experiment.change('activation_checkpointing="none"', 'activation_checkpointing="full"')
    experiment.change("steps=200", "steps=20")
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 0
    assert checkpoint.required(experiment.folder / "run").step == 20
