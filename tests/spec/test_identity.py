"""What makes another experiment, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compiling import files, planned
from tests.conftest import ROOT

QUICKSTART = ROOT / "specs/quickstart.yaml"


def keys(*sets: str, spec: Path = QUICKSTART) -> tuple[str, dict[str, str]]:
    experiment = planned(*sets, spec=spec).experiment
    return experiment.identity, {stage.name: stage.key for stage in experiment.stages}


@pytest.mark.parametrize(
    "same",
    [
        "name=other",
        "tags=[a, b]",
        "cluster.nodes=1",
        "stages.pretrain.checkpoint.every=7 steps",
        "stages.pretrain.steps=700",
        "stages.pretrain.parallelism.micro_batch_size=1",
        "data.stdlib.sources.python.path=elsewhere/*.py",
    ],
)
def test_where_and_how_it_runs_is_not_what_it_is(same: str) -> None:
    assert keys(same) == keys()


@pytest.mark.parametrize(
    "respelt",
    [
        "stages.pretrain.duration=0.7K steps",
        "stages.pretrain.global_batch_size=2Ki tokens",
        "stages.pretrain.schedule.warmup=7.1%",
        "data.stdlib.tokens=30M tokens",
    ],
)
def test_the_same_thing_in_other_words_is_the_same_experiment(respelt: str) -> None:
    assert keys(respelt) == keys()


RULE = "stages.pretrain.optimizer.rules=[{{match: 'embedding.*', learning_rate: {}}}]"
WSD = "stages.pretrain.schedule={{kind: wsd, warmup: 50 steps, decay: {}}}"


@pytest.mark.parametrize(
    ("one", "other"),
    [(RULE.format("0.1x"), RULE.format("0.10 x")), (WSD.format("70 steps"), WSD.format("10%"))],
)
def test_a_scale_or_a_decay_in_other_words_is_the_same_experiment(one: str, other: str) -> None:
    assert keys(one) == keys(other) != keys()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (RULE.format("0.1x"), RULE.format("0.2x")),
        (WSD.format("70 steps"), WSD.format("80 steps")),
        (WSD.format("70 steps"), WSD.format("70 steps, shape: linear")),
    ],
)
def test_another_scale_or_decay_is_another_experiment(one: str, other: str) -> None:
    assert keys(one) != keys(other)


def test_another_tokenizer_is_another_experiment() -> None:
    spec = ROOT / "specs/gpt2_124m.yaml"
    assert keys("tokenizer.path=another", spec=spec) != keys(spec=spec)


def test_a_renamed_data_set_is_the_same_data_set(tmp_path: Path) -> None:
    text = QUICKSTART.read_text(encoding="utf-8")
    renamed = tmp_path / "spec.yaml"
    renamed.write_text(text.replace("stdlib:\n", "pylib:\n").replace("data: stdlib", "data: pylib"), encoding="utf-8")
    assert keys(spec=renamed) == keys()


@pytest.mark.parametrize("other", ["seed=7", "model.position.kind=rope", "stages.pretrain.duration=3000 steps"])
def test_mathematics_makes_another_experiment_downstream_too(other: str) -> None:
    (identity, stages), (before, stages_before) = keys(other), keys()
    assert identity != before
    assert all(stages[name] != stages_before[name] for name in stages)


def test_a_change_downstream_leaves_upstream_alone() -> None:
    _, stages = keys("stages.evaluate.limit=3")
    _, before = keys()
    assert stages["pretrain"] == before["pretrain"]
    assert stages["evaluate"] != before["evaluate"]


def test_a_renamed_stage_is_the_same_stage(tmp_path: Path) -> None:
    text = QUICKSTART.read_text(encoding="utf-8")
    renamed = tmp_path / "spec.yaml"
    renamed.write_text(text.replace("  pretrain:\n", "  base:\n").replace("[pretrain]", "[base]"), encoding="utf-8")
    _, stages = keys(spec=renamed)
    _, before = keys()
    assert stages == {"base": before["pretrain"], "evaluate": before["evaluate"]}


@pytest.mark.parametrize("name", ["quickstart", "70b_alibi", "llama3_8b", "gpt2_124m"])
def test_the_lock_is_a_spec_that_gives_the_same_experiment(name: str, tmp_path: Path) -> None:
    plan = planned(spec=ROOT / f"specs/{name}.yaml")
    locked = tmp_path / "experiment.lock.yaml"
    locked.write_text(files(plan)["experiment.lock.yaml"], encoding="utf-8")
    again = planned(spec=locked)
    assert again.experiment.settings == plan.experiment.settings
    assert files(again) == files(plan)


def test_text_that_looks_like_a_number_survives_the_lock(tmp_path: Path) -> None:
    plan = planned("description='1e5'", "tags=['no', '0x1F', '12', 'null', '+.inf', 'a: b', '# c', '${x}']")
    locked = tmp_path / "experiment.lock.yaml"
    locked.write_text(files(plan)["experiment.lock.yaml"], encoding="utf-8")
    assert planned(spec=locked).experiment.settings == plan.experiment.settings
