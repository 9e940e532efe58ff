"""Post-training: what is compared with what, in groups of how many, and how a tuned model is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.checking import found, said

SFT = "stages:\n  sft: {kind: sft, from: pretrain, data: text, duration: 100 steps}\n"
REWARDS = "rewards: [{kind: exact_match}]"


def stage(kind: str, keys: str = "") -> str:
    more = f", {keys}" if keys else ""
    return f"{SFT}  tuned: {{kind: {kind}, from: sft, data: text, duration: 100 steps{more}}}\n"


def online(kind: str, keys: str = "", prompt: int = 64, completion: int = 64) -> str:
    lengths = f"prompt_length: {prompt}, completion_length: {completion}, {REWARDS}"
    return stage(kind, f"{lengths}, {keys}" if keys else lengths)


@pytest.mark.parametrize("text", [stage("dpo"), stage("kto"), online("ppo"), online("grpo", "kl: 0.04")])
def test_a_stage_that_compares_needs_a_reference_and_the_help_gives_one(text: str, tmp_path: Path) -> None:
    (one,) = found(tmp_path, text)
    assert one.code == "SPC501"
    assert one.help == "add `reference: sft`"
    assert said(tmp_path, text.replace("from: sft,", "from: sft, reference: sft,")) == []


def test_a_stage_without_a_distance_needs_no_reference_and_is_told_of_an_idle_one(tmp_path: Path) -> None:
    assert said(tmp_path, online("grpo")) == []
    assert said(tmp_path, online("ppo", "kl: 0.0")) == []
    (one,) = found(tmp_path, online("grpo", "reference: sft"))
    assert (one.code, one.severity) == ("SPC509", "warning")


def test_the_reference_reads_the_tokens_of_the_policy(tmp_path: Path) -> None:
    given = "models: {given: {path: some/model, tokenizer: NAME}}\n" + stage("dpo", "reference: given")
    assert said(tmp_path, given.replace("NAME", "byte")) == []
    headline = "stage `tuned` mixes tokenizers: policy `byte`, reference `some/model`"
    assert said(tmp_path, given.replace("NAME", "some/model")) == [("SPC502", headline)]


@pytest.mark.parametrize(
    ("size", "batch", "code", "help_text"),
    [
        (1, "64 sequences", "SPC503", "use `group_size: 8`"),
        (1, "15 sequences", "SPC503", "use `group_size: 5`"),
        (6, "64 sequences", "SPC513", "use `group_size: 4`, or `global_batch_size: 66 sequences`"),
        (128, "64 sequences", "SPC513", "use `group_size: 64`, or `global_batch_size: 128 sequences`"),
        (3, "1024 tokens", "SPC513", "use `group_size: 2`, or `global_batch_size: 9 sequences`"),
    ],
)
def test_groups_that_teach_nothing_or_do_not_fill_the_batch(
    size: int, batch: str, code: str, help_text: str, tmp_path: Path
) -> None:
    text = online("grpo", f"group_size: {size}, global_batch_size: {batch}")
    (one,) = found(tmp_path, text)
    assert (one.code, one.help) == (code, help_text)
    helped = help_text.split("`")[1].removeprefix("group_size: ")
    assert said(tmp_path, text.replace(f"group_size: {size}", f"group_size: {helped}")) == []


@pytest.mark.parametrize(
    ("prompt", "completion", "help_text"),
    [
        (64, 65, "use `completion_length: 64`"),
        (127, 2, "use `completion_length: 1`"),
        (200, 10, "use `prompt_length: 64`"),
        (200, 100, "use `prompt_length: 64` and `completion_length: 64`"),
    ],
)
def test_prompt_and_completion_share_the_context(prompt: int, completion: int, help_text: str, tmp_path: Path) -> None:
    (one,) = found(tmp_path, online("grpo", "", prompt, completion))
    assert (one.code, one.help) == ("SPC504", help_text)
    sizes = dict(part.split(": ") for part in help_text.split("`")[1::2])
    mended = online(
        "grpo", "", int(sizes.get("prompt_length", prompt)), int(sizes.get("completion_length", completion))
    )
    assert said(tmp_path, mended) == []


@pytest.mark.parametrize(
    ("stage_keys", "headline"),
    [
        ("reference: stf", "there is no stage or model `stf`"),
        ("reference: rm", "stage `rm` of kind `reward` leaves a reward model, and a language model is asked for"),
        ("reference: out", "stage `out` of kind `export` leaves no model behind"),
    ],
)
def test_a_reference_is_a_language_model_that_exists(stage_keys: str, headline: str, tmp_path: Path) -> None:
    text = stage("dpo", stage_keys)
    text += "  rm: {kind: reward, from: sft, data: text, duration: 100 steps}\n"
    text += "  out: {kind: export, from: sft, format: huggingface}\n"
    assert [line for _, line in said(tmp_path, text)] == [headline]


def test_rewards_come_from_models_that_score(tmp_path: Path) -> None:
    text = online("grpo").replace("{kind: exact_match}", "{kind: reward_model, from: NAME}")
    text += "  rm: {kind: reward, from: sft, data: text, duration: 100 steps}\n"
    judge = "models: {judge: {path: some/judge, tokenizer: some/judge}}\n"
    assert said(tmp_path, text.replace("NAME", "rm")) == []
    assert said(tmp_path, judge + text.replace("NAME", "judge")) == []
    (one,) = found(tmp_path, text.replace("NAME", "sft"))
    assert (one.code, one.help) == ("SPC511", "reward models come from `rm`")
    (one,) = found(tmp_path, text.replace("NAME", "tuned"))
    assert one.code == "SPC506"


def test_a_name_is_of_a_stage_or_of_a_model(tmp_path: Path) -> None:
    text = "models: {sft: {path: x, tokenizer: byte}}\n" + SFT
    assert said(tmp_path, text) == [("SPC514", "`sft` is the name of a model and of a stage")]


@pytest.mark.parametrize(
    ("template", "codes"),
    [
        ("none", ["SPC508"]),
        ("chatml", []),
        ("llama3", []),
        ("zephyr", []),
        ("chats/own.jinja", []),
        ("chatlm", ["SPC512"]),
    ],
)
def test_loss_on_turns_needs_a_template_that_exists(template: str, codes: list[str], tmp_path: Path) -> None:
    text = f"tokenizer: {{chat_template: {template}}}\n" + SFT.replace("duration", "loss_on: assistant, duration")
    assert [code for code, _ in said(tmp_path, text)] == codes
