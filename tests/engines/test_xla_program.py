"""A generated program on the `xla` engine: started by the Python of the other engines, killed, resumed, continued."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch

from runners import checkpoint
from tests.engines.xla_environment import environment
from tests.runners.conftest import Experiment, corpus, experiment  # noqa: F401 - fixtures
from tests.runners.test_pretrain import curve, of_type, wait_for_step

pytestmark = pytest.mark.slow

STEPS = 40
LAYOUT = 'layout=Layout(shard=2, tensor=2, zero_stage=3, splits=(("*.gate_proj.weight", 0), ("*.down_proj.weight", 1)))'


@pytest.fixture
def on_xla(experiment: Experiment) -> Experiment:  # noqa: F811
    """Four devices; the program ends after 40 steps and saves every 10."""
    experiment.change("from runners.init import", "from runners.layout import Layout\nfrom runners.init import")
    experiment.change("steps=200", f"steps={STEPS}")
    experiment.change("validate_every=50", "validate_every=20")
    experiment.change("micro_batch_size=4", "micro_batch_size=2")
    experiment.change('engine="torch"', f'engine="xla",\n    {LAYOUT}')
    return experiment


def start(plan: Experiment, run: str, *, program: str = "train.py") -> subprocess.Popen[str]:
    return subprocess.Popen(
        plan.command(program, run), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(plan: Experiment, run: str, *, program: str = "train.py") -> str:
    process = start(plan, run, program=program)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return said


def tensors(run: Path) -> dict[str, torch.Tensor]:
    found = checkpoint.required(run)
    assert found.step == STEPS
    return {name: found.tensor(name) for name in found.names()}


def test_a_killed_and_resumed_run_ends_with_the_same_bits_and_goes_on_with_torch_and_back(on_xla: Experiment) -> None:
    said = finish(on_xla, "whole")
    assert "fp32 on 4 CPU devices" in said
    process = start(on_xla, "killed")
    wait_for_step(on_xla.folder / "killed", 23, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    shutil.copytree(on_xla.folder / "killed", on_xla.folder / "other")
    assert "resuming from step 20" in finish(on_xla, "killed")
    whole, killed = on_xla.folder / "whole", on_xla.folder / "killed"
    assert curve(whole) == curve(killed)
    assert curve(whole, "train/grad_norm") == curve(killed, "train/grad_norm")
    assert curve(whole, "validation/loss") == curve(killed, "validation/loss")
    one, other = tensors(whole), tensors(killed)
    assert one.keys() == other.keys()
    assert {name.partition("/")[0] for name in one} == {"model", "optimizer"}
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    _goes_on_with_torch_and_back(on_xla, one)


def _goes_on_with_torch_and_back(plan: Experiment, whole: dict[str, torch.Tensor]) -> None:
    """The same checkpoints: from step 20 to 30 in one process of PyTorch, and from there on the devices again."""
    text = (plan.plan / "train.py").read_text()
    plain = text.replace(f'engine="xla",\n    {LAYOUT}', 'engine="torch"').replace(
        "micro_batch_size=2", "micro_batch_size=4"
    )
    (plan.plan / "plain.py").write_text(plain.replace(f"steps={STEPS}", "steps=30"))
    said = finish(plan, "other", program="plain.py")
    assert "resuming from step 20" in said
    run = plan.folder / "other"
    events = [line for line in (run / "events.jsonl").read_text().splitlines() if '"run_finished"' not in line]
    (run / "events.jsonl").write_text("\n".join(events) + "\n")  # 30 of its 40 steps are done
    assert "resuming from step 30" in finish(plan, "other")
    mixed = tensors(run)
    assert mixed.keys() == whole.keys()
    assert max(float((tensor - mixed[name]).abs().max()) for name, tensor in whole.items()) < 1e-5
    devices = [event["device"] for event in of_type(run, "run_started")]
    assert devices[0] == devices[-1] == "4 CPU devices"
    assert devices[-2].startswith("cpu, ")
