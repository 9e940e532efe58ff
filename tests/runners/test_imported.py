"""Weights from elsewhere as a stage: verified, kept, and what others start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from runners import checkpoint, places
from runners.documents import file_hash
from runners.events import has_finished, read_events
from specc.manifest import StageEntry
from tests.runners.test_evaluate import generated

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

PROGRAM = """
from model import Model
from runners.imported import Imported, take_over

if __name__ == "__main__":
    take_over(Model, Imported(stage="base", path="weights", sha256="{sha256}"))
"""


@pytest.fixture
def weights(experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights beside the spec, with an import stage for them."""
    monkeypatch.setenv(places.FOLDER, str(tmp_path))
    torch.manual_seed(3)
    tensors = {name: torch.randn_like(tensor) for name, tensor in generated(experiment).Model().state_dict().items()}
    place(experiment, tmp_path, tensors)
    return tensors


def place(experiment: Experiment, spec: Path, tensors: dict[str, torch.Tensor]) -> None:
    (spec / "weights/huggingface").mkdir(parents=True, exist_ok=True)
    (spec / "weights/huggingface/config.json").write_text("{}")
    save_file(tensors, spec / "weights/weights.safetensors")
    sha256 = file_hash(spec / "weights/weights.safetensors")
    (experiment.plan / "import.py").write_text(PROGRAM.format(sha256=sha256))
    stages = {"base": StageEntry("import", (), "eeeeeeeeeeee", "import.py"), **experiment.manifest.stages}
    experiment.declare(stages=stages)


def test_imported_weights_are_the_checkpoint_of_step_0(
    experiment: Experiment, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert experiment.execute_here(monkeypatch, "import.py", "taken") == 0
    run = experiment.folder / "taken"
    found = checkpoint.required(run)
    assert (found.step, found.tokens) == (0, 0)
    assert all(torch.equal(found.weights()[name], tensor) for name, tensor in weights.items())
    assert has_finished(run)
    assert (run / "huggingface/config.json").is_file()
    saved = [event for event in read_events(run) if event["type"] == "checkpoint"]
    assert [event["step"] for event in saved] == [0]
    started = next(event for event in read_events(run) if event["type"] == "run_started")
    assert started["folder"] == str(tmp_path)
    (tmp_path / "weights/weights.safetensors").unlink()
    assert checkpoint.required(run).path == found.path


def test_training_starts_from_them_and_resumes_from_its_own(
    experiment: Experiment, weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert experiment.execute_here(monkeypatch, "import.py", "taken") == 0
    experiment.change('stage="pretrain",', 'stage="pretrain",\n    base="base",')
    experiment.change("steps=200", "steps=1")
    assert experiment.execute_here(monkeypatch, "train.py", "no_base") == 1
    upstream = ("--from", f"base={experiment.folder / 'taken'}")
    assert experiment.execute_here(monkeypatch, "train.py", "trained", *upstream) == 0
    after = checkpoint.required(experiment.folder / "trained")
    assert after.step == 1
    # One step of AdamW moves a weight by its learning rate at most, and decay by a part of that.
    furthest = max((after.weights()[name] - tensor).abs().max().item() for name, tensor in weights.items())
    assert 0 < furthest < 2e-3
    experiment.change("    steps=1,", "    steps=2,")
    events = experiment.folder / "trained/events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join(line for line in lines if json.loads(line)["type"] != "run_finished"))
    assert experiment.execute_here(monkeypatch, "train.py", "trained", *upstream) == 0
    started = [event for event in read_events(experiment.folder / "trained") if event["type"] == "run_started"]
    assert [event["resumed_from_step"] for event in started] == [None, 1]


def test_weights_of_another_model_are_named(
    experiment: Experiment,
    weights: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name, tensor = next(iter(weights.items()))
    for changed, said in (
        ({**weights, name: tensor[:-1].clone()}, f"`{name}` is of shape"),
        ({**weights, "extra": torch.ones(1)}, "has no `extra`"),
        ({other: one for other, one in weights.items() if other != name}, f"needs `{name}`, and nothing gives it"),
    ):
        place(experiment, tmp_path, changed)
        assert experiment.execute_here(monkeypatch, "import.py", "taken") == 1
        assert said in capsys.readouterr().err
    (tmp_path / "weights/weights.safetensors").unlink()
    assert experiment.execute_here(monkeypatch, "import.py", "taken") == 1
    assert "`stages.base.path` is seen from the spec" in capsys.readouterr().err
