"""A whole life in one spec: it is locked, addressed and planned like any other."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc import ir
from tests.compiling import files, planned

LIFE = """
extends: presets/tiny.yaml
tokenizer: {chat_template: chatml}
models:
  judge: {path: some/judge, tokenizer: some/judge}
  given: {path: some/model, revision: "1", tokenizer: byte}
data:
  text: {normalize_weights: true}
  hub: {sources: {a: {kind: huggingface, dataset: some/set, split: train, weight: 1.0}}}
  ids: {sources: {a: {kind: shards, path: [x/*, y/*], dtype: uint16, sequence_length: 129, tokenizer: byte}}}
suites:
  chat: {tasks: [{task: ifeval}], apply_chat_template: true}
stages:
  sft: {kind: sft, from: pretrain, data: hub, loss_on: assistant, duration: 100 steps}
  rm: {kind: reward, from: sft, data: text, margin_field: margin, duration: 100 steps}
  dpo: {kind: dpo, from: sft, reference: sft, data: text, duration: 100 steps}
  kto: {kind: kto, from: sft, reference: given, adapter: {kind: lora, rank: 2}, data: ids, duration: 100 steps}
  grpo: {kind: grpo, from: dpo, data: text, duration: 100 steps, prompt_length: 64, completion_length: 64,
    rewards: [{kind: exact_match, weight: 2.0}, {kind: reward_model, from: judge}]}
  ppo: {kind: ppo, from: dpo, reference: dpo, data: text, duration: 100 steps, prompt_length: 64,
    completion_length: 64, rewards: [{kind: reward_model, from: rm}]}
  evaluate: {kind: evaluate, models: [sft, dpo, kto, grpo, ppo], suites: [chat]}
"""


def life(folder: Path, *changes: tuple[str, str]) -> ir.Plan:
    text = LIFE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "spec.yaml").write_text(text, encoding="utf-8")
    return planned(spec=folder / "spec.yaml")


def keys(plan: ir.Plan) -> dict[str, str]:
    return {stage.name: stage.key for stage in plan.experiment.stages}


def test_the_lock_of_a_whole_life_gives_the_same_life(tmp_path: Path) -> None:
    plan = life(tmp_path)
    locked = tmp_path / "locked.yaml"
    locked.write_text(files(plan)["experiment.lock.yaml"], encoding="utf-8")
    again = planned(spec=locked)
    assert again.experiment.settings == plan.experiment.settings
    assert keys(again) == keys(plan)


def test_stages_wait_for_references_and_for_models_that_score(tmp_path: Path) -> None:
    after = {stage.name: stage.after for stage in life(tmp_path).experiment.stages}
    assert after["dpo"] == ("sft",)
    assert after["kto"] == ("sft",)  # `given` is from elsewhere
    assert after["ppo"] == ("dpo", "rm")
    order = list(after)
    assert order.index("rm") < order.index("ppo")


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("reference: sft, data: text", "reference: pretrain, data: text", {"dpo", "grpo", "ppo", "evaluate"}),
        ("path: some/model", "path: another/model", {"kto", "evaluate"}),
        ("path: some/judge", "path: another/judge", {"grpo", "evaluate"}),
        ("margin_field: margin", "margin_field: better_by", {"rm", "ppo", "evaluate"}),
        ("weight: 2.0", "weight: 3.0", {"grpo", "evaluate"}),
        ("apply_chat_template: true", "apply_chat_template: false", {"evaluate"}),
        ("uint16, sequence_length: 129", "uint32, sequence_length: 129", {"kto", "evaluate"}),
        ("loss_on: assistant", "loss_on: all", {"sft", "rm", "dpo", "kto", "grpo", "ppo", "evaluate"}),
        ("path: [x/*, y/*]", "path: [z/*]", set()),
        ("given", "another_name", set()),
    ],
)
def test_another_experiment_is_what_reads_something_else(old: str, new: str, changed: set[str], tmp_path: Path) -> None:
    before, after = keys(life(tmp_path)), keys(life(tmp_path, (old, new)))
    assert {name for name in before if before[name] != after[name]} == changed


def test_what_the_plan_leaves_out_is_said_beside_it(tmp_path: Path) -> None:
    plan = life(tmp_path)
    counted = {stage.stage: any("generating" in note for note in stage.notes) for stage in plan.stages}
    assert {name for name, noted in counted.items() if noted} == {"grpo", "ppo"}


def test_a_reference_costs_a_forward_pass_and_its_weights_where_it_is_another_model(tmp_path: Path) -> None:
    plan = life(tmp_path)
    memory = {stage.stage: dict(stage.memory.by_cause) for stage in plan.stages if stage.memory}
    assert memory["dpo"]["reference model"] > 0
    assert memory["kto"]["reference model"] > 0  # under an adapter lies `sft`, and `given` is asked for
    assert memory["grpo"].get("reference model", 0) == 0  # its `kl` is 0
    below = life(tmp_path, ("reference: given", "reference: sft"))
    assert dict(below.stage("kto").memory.by_cause).get("reference model", 0) == 0  # type: ignore[union-attr]
    flops = {stage.stage: stage.flops for stage in plan.stages}
    assert flops["dpo"] == flops["ppo"]
    assert flops["dpo"] == pytest.approx((flops["rm"] or 0) * 4 / 3, rel=1e-9)  # forward, backward twice as much


def test_what_is_emitted_says_how_turns_are_written(tmp_path: Path) -> None:
    emitted = files(life(tmp_path))
    assert '"chat_template": "chatml"' in emitted["manifest.json"]
    assert "metadata:\n  apply_chat_template: true\n" in emitted["suites/chat.yaml"]
