from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from runners import checkpoint
from runners.events import read_events
from runners.torch_engine import TorchEngine, recompute_activations

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
    states = [checkpoint.required(run).state() for run in (one, other)]
    assert states[0].keys() == states[1].keys()
    moments = [state["optimizer"]["state"] for state in states]
    assert all(torch.equal(moments[0][index]["exp_avg_sq"], moments[1][index]["exp_avg_sq"]) for index in moments[0])
    assert [event["resumed_from_step"] is None for event in of_type(other, "run_started")] == [True, False]
    again = experiment.execute("train.py", "killed")
    assert again.returncode == 0
    assert "already complete" in again.stdout
    assert len(of_type(other, "run_started")) == 2
    assert len(of_type(one, "run_finished")) == 1
    names = {event["name"] for event in of_type(one, "measurement")}
    assert names == {"parameters", "duration_s", "memory_bytes", "step_time_s", "tokens_per_second"}
    assert [event["name"] for event in of_type(one, "prediction")] == ["step_time_s"]
    assert of_type(one, "sample")[0]["prompt"] == "def "
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
        engine = TorchEngine(model, torch.optim.SGD(model.parameters()), torch.device("cpu"), "fp32", size, None)
        norms.append(engine.gradients(rows))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert norms[0] == pytest.approx(norms[2], rel=1e-6)


def test_recomputed_activations_give_the_same_gradients_and_names() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 10)))
    engine = TorchEngine(model, torch.optim.SGD(model.parameters()), torch.device("cpu"), "fp32", 4, 1.0)
    rows, names = torch.randint(0, 10, (4, 5)), [name for name, _ in model.named_parameters()]
    before = engine.gradients(rows)
    recompute_activations(model[1].children())
    assert engine.gradients(rows) == before
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('engine="torch"', 'engine="deepspeed"', "and the plan says `deepspeed`"),
        ('precision="fp32"', 'precision="fp8"', "and the plan says fp8"),
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


def test_bf16_and_recomputed_activations_run(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment.change('precision="fp32"', 'precision="bf16"')
    experiment.change('activation_checkpointing="none"', 'activation_checkpointing="full"')
    experiment.change("steps=200", "steps=20")
    assert experiment.execute_here(monkeypatch, "train.py", "run") == 0
    assert checkpoint.required(experiment.folder / "run").step == 20
