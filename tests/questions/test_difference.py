"""`specc diff`: what differs between two specs, what runs again, and what a running job may do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from specc.questions.difference import Difference, StageVerdict, difference
from tests.compiling import files, planned
from tests.conftest import ROOT, Specc

QUICKSTART = ROOT / "specs/quickstart.yaml"
SPEC_70B = ROOT / "specs/70b_alibi.yaml"


def between(*sets: str, spec: Path = QUICKSTART) -> Difference:
    """The spec and the spec with overrides."""
    return difference(planned(spec=spec), planned(*sets, spec=spec))


def verdict(found: Difference, name: str) -> StageVerdict:
    return {each.name: each for each in found.stages}[name]


def rewritten(tmp_path: Path, *changes: tuple[str, str]) -> Difference:
    """The quickstart and a copy of it with texts replaced."""
    text = QUICKSTART.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "spec.yaml").write_text(text, encoding="utf-8")
    return difference(planned(spec=QUICKSTART), planned(spec=tmp_path / "spec.yaml"))


def test_a_size_that_an_epoch_hangs_on_is_identity_and_named_as_the_cause() -> None:
    tiny = ROOT / "specs/presets/tiny.yaml"
    epochs = ("stages.pretrain.duration=2 epochs", "data.text.tokens=1M tokens")
    found = difference(planned(*epochs, spec=tiny), planned(epochs[0], "data.text.tokens=2M tokens", spec=tiny))
    assert [(row.path, row.effect) for row in found.settings] == [("data.text.tokens", "identity")]
    assert verdict(found, "pretrain").because == ("data.text.tokens",)
    steps = difference(planned(spec=tiny), planned("data.text.tokens=2M tokens", spec=tiny))
    assert [row.effect for row in steps.settings] == ["execution"]


def test_other_paths_are_the_same_bits_only_if_the_files_are() -> None:
    tiny = ROOT / "specs/presets/tiny.yaml"
    found = difference(planned(spec=tiny), planned("data.text.sources.files.path=else/*.txt", spec=tiny))
    assert verdict(found, "pretrain").resume == "same_files"
    assert verdict(found, "pretrain").over == ("data.text.sources.files.path",)


def test_a_spec_does_not_differ_from_itself() -> None:
    found = between()
    assert not found.differs
    assert not found.settings + found.respellings + found.facts
    assert {each.resume for each in found.stages} == {"exact"}


@pytest.mark.parametrize(
    ("changed", "path", "effect"),
    [
        ("seed=2", "seed", "identity"),
        ("stages.pretrain.parallelism.activation_checkpointing=full",
         "stages.pretrain.parallelism.activation_checkpointing", "numerics"),
        ("stages.pretrain.log_every=5 steps", "stages.pretrain.log_every", "execution"),
        ("tags=[a]", "tags", "annotation"),
    ],
)  # fmt: skip
def test_every_setting_that_differs_is_told_with_its_class(changed: str, path: str, effect: str) -> None:
    found = between(changed)
    assert [(row.path, row.effect) for row in found.settings] == [(path, effect)]


def test_upstream_mathematics_runs_everything_below_it_again() -> None:
    found = between("stages.sft.adapter.rank=8", spec=SPEC_70B)
    assert [each.state for each in found.stages] == ["same", "changed", "changed", "changed", "changed"]
    assert verdict(found, "sft").because == ("stages.sft.adapter.rank",)
    assert verdict(found, "dpo").because == ("sft",)
    assert verdict(found, "evaluate").because == ("sft", "dpo")
    assert verdict(found, "export").because == ("dpo",)


def test_data_and_suites_run_again_only_what_reads_them() -> None:
    data = between("data.instructions.holdout=3%", spec=SPEC_70B)
    assert verdict(data, "pretrain").state == "same"
    assert verdict(data, "sft").because == ("data.instructions.holdout",)
    suites = between("suites.safety.tasks.0.num_fewshot=3", spec=SPEC_70B)
    assert [each.name for each in suites.stages if each.state == "changed"] == ["evaluate"]
    assert verdict(suites, "evaluate").because == ("suites.safety.tasks.0.num_fewshot",)


def test_the_stages_that_run_again_are_those_whose_keys_differ() -> None:
    for changed in ("seed=7", "stages.evaluate.limit=3", "stages.pretrain.log_every=1 step", "model.norm.eps=1e-4"):
        a, b = planned(spec=QUICKSTART).experiment, planned(changed, spec=QUICKSTART).experiment
        told = {each.name for each in between(changed).stages if each.state == "changed"}
        assert told == {stage.name for stage in a.stages if stage.key != b.stage(stage.name).key}
        assert all(each.because for each in between(changed).stages if each.state == "changed")


@pytest.mark.parametrize(
    ("changed", "resume"),
    [
        ("stages.pretrain.checkpoint.every=7 steps", "exact"),
        ("description=words", "exact"),
        ("stages.pretrain.parallelism.activation_checkpointing=full", "other_bits"),
        ("stages.pretrain.parallelism.micro_batch_size=2", "other_bits"),
        ("stages.pretrain.precision=bf16", "refused"),
        ("stages.pretrain.optimizer.learning_rate=0.01", ""),
    ],
)
def test_a_running_job_resumes_as_its_class_says(changed: str, resume: str) -> None:
    assert verdict(between(changed), "pretrain").resume == resume


def test_another_cluster_is_the_same_experiment_in_another_layout() -> None:
    found = between("cluster.nodes=32", spec=SPEC_70B)
    pretrain = verdict(found, "pretrain")
    assert pretrain.resume == "other_bits"
    assert "data_parallel_size 512 -> 256" in pretrain.over
    facts = {(fact.stage, fact.name) for fact in found.facts}
    assert {("", "cost"), ("pretrain", "duration"), ("pretrain", "memory per device")} <= facts
    assert ("", "parameters") not in facts


@pytest.mark.parametrize(
    "changed",
    ["stages.pretrain.duration=0.7K steps", "stages.pretrain.global_batch_size=2Ki tokens",
     "stages.pretrain.duration=1433600 tokens"],
)  # fmt: skip
def test_the_same_length_in_other_words_is_no_difference(changed: str) -> None:
    found = between(changed)
    assert not found.differs
    assert [each.path for each in found.respellings] == [changed.partition("=")[0]]


def test_renamed_entries_are_told_as_renamed(tmp_path: Path) -> None:
    found = rewritten(
        tmp_path,
        ("  pretrain:\n", "  base:\n"), ("[pretrain]", "[base]"),
        ("stdlib:\n", "pylib:\n"), ("data: stdlib", "data: pylib"),
        ("held_out:\n", "kept:\n"), ("[held_out]", "[kept]"),
    )  # fmt: skip
    assert [(each.section, each.before, each.after) for each in found.renames] == [
        ("data", "stdlib", "pylib"), ("suites", "held_out", "kept"), ("stages", "pretrain", "base")
    ]  # fmt: skip
    assert not found.settings
    assert found.differs
    assert [(each.name, each.state) for each in found.stages] == [("pretrain", "same"), ("evaluate", "same")]


def test_a_rename_beside_a_change_shows_the_change_alone(tmp_path: Path) -> None:
    found = rewritten(tmp_path, ("  pretrain:\n", "  base:\n"), ("[pretrain]", "[base]"), ("seed: 1234", "seed: 7"))
    assert [row.path for row in found.settings] == ["seed"]
    assert [(each.before, each.after) for each in found.renames] == [("pretrain", "base")]
    assert [each.because for each in found.stages] == [("seed",), ("seed", "pretrain")]


def test_stages_that_come_and_go_are_told(tmp_path: Path) -> None:
    found = rewritten(tmp_path, ("  evaluate:\n", "  score:\n"), ("[held_out]", "[held_out]\n    limit: 3"))
    assert [(each.name, each.state) for each in found.stages] == [
        ("pretrain", "same"), ("score", "new"), ("evaluate", "gone")
    ]  # fmt: skip


def test_the_command_fits_eighty_columns(specc: Specc) -> None:
    said = specc("diff", str(SPEC_70B), "--set", "cluster.nodes=32", "--set", "stages.sft.adapter.rank=8")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "identity: another experiment\n  stages.sft.adapter.rank  16 -> 8\n" in said.out
    assert "execution: the same experiment, run otherwise\n  cluster.nodes  64 -> 32\n" in said.out
    assert "dpo       runs again, in another run directory, because of sft" in said.out
    assert "stays; a running job resumes with other bits, because of" in said.out


def test_each_spec_has_its_own_overrides(specc: Specc) -> None:
    path = str(QUICKSTART)
    both = specc("diff", path, "--set", "seed=1", path, "--set=seed=2", "--format", "json").out
    (row,) = json.loads(both)["settings"]
    assert (row["path"], row["class"], row["before"], row["after"]) == ("seed", "identity", 1, 2)
    alone = json.loads(specc("diff", "--set", "seed=3", path, "--format=json").out)
    assert [(each["before"], each["after"]) for each in alone["settings"]] == [(1234, 3)]
    assert [each["resume"] for each in alone["stages"]] == ["another_run", "another_run"]


def test_exit_codes(specc: Specc) -> None:
    path = str(QUICKSTART)
    assert specc("diff", path, path, "--exit-code").code == 0
    assert specc("diff", path, "--set", "seed=2").code == 0
    assert specc("diff", path, "--set", "seed=2", "--exit-code").code == 3
    assert specc("diff", path, "--set", "stages.pretrain.duration=0.7K steps", "--exit-code").code == 0
    assert specc("diff", path, "--set", "sed=2").code == 1
    assert specc("diff").code == 2
    assert specc("diff", path, path, path).code == 2


def test_a_generated_folder_and_a_run_directory_are_addresses(specc: Specc, tmp_path: Path) -> None:
    plan = tmp_path / "runs/quickstart/plans/abc"
    plan.mkdir(parents=True)
    (plan / "experiment.lock.yaml").write_text(
        files(planned(spec=QUICKSTART))["experiment.lock.yaml"], encoding="utf-8"
    )
    run = tmp_path / "runs/quickstart/pretrain-0123456789ab"
    run.mkdir()
    event: dict[str, Any] = {"type": "run_started", "plan": "../plans/abc"}
    (run / "events.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")
    for address in (plan, plan / "experiment.lock.yaml", run):
        assert specc("diff", str(address), str(QUICKSTART), "--exit-code").code == 0
    (tmp_path / "empty").mkdir()
    said = specc("diff", "empty", str(QUICKSTART))
    assert said.code == 1
    assert said.err == "error: empty is neither generated code nor a run: it has no experiment.lock.yaml\n"


def test_a_revision_of_git_is_an_address(specc: Specc, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *author, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "base.yaml").write_text("extends: presets/tiny.yaml\n", encoding="utf-8")
    (tmp_path / "spec.yaml").write_text("extends: base.yaml\nseed: 5\n", encoding="utf-8")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    (tmp_path / "spec.yaml").write_text("extends: base.yaml\nseed: 6\n", encoding="utf-8")
    said = json.loads(specc("diff", "HEAD:spec.yaml", "spec.yaml", "--format", "json").out)
    assert [(row["path"], row["before"], row["after"]) for row in said["settings"]] == [("seed", 5, 6)]
    assert "there is no `other.yaml` in revision `HEAD`" in specc("diff", "HEAD:other.yaml", "spec.yaml").err
    assert specc("diff", "nowhere:spec.yaml", "spec.yaml").code == 1


def test_markdown_has_a_table_a_section(specc: Specc) -> None:
    said = specc("diff", str(QUICKSTART), "--set", "model.position.kind=rope", "--format", "markdown").out
    assert "| model.position.kind | identity | alibi | rope |" in said
    assert "## Stages" in said
    assert "## What follows" in said
