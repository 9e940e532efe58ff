"""Lengths of stages whose sequences are no stretches of the data."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc import ir
from tests.checks.specs import found, outcome

DATA = "data:\n  text: {tokens: 100K tokens}\nstages:\n"
GRPO = (
    "  grpo: {kind: grpo, from: pretrain, data: text, prompt_length: 32, completion_length: 64,"
    " rewards: [{kind: exact_match}]"
)
DPO = "  dpo: {kind: dpo, from: pretrain, reference: pretrain, data: text"


def work(folder: Path, text: str, stage: str) -> ir.Training:
    plan = outcome(folder, text).plan
    assert plan is not None
    training = plan.experiment.stage(stage).work
    assert isinstance(training, ir.Training)
    return training


def test_a_sequence_of_an_online_stage_is_a_prompt_and_its_completion(tmp_path: Path) -> None:
    training = work(tmp_path, DATA + GRPO + ", duration: 10 steps, global_batch_size: 16 sequences}", "grpo")
    assert (training.context_length, training.tokens) == (32 + 64, 10 * 16 * (32 + 64))
    batch = work(tmp_path, DATA + GRPO + f", duration: 10 steps, global_batch_size: {16 * 96} tokens}}", "grpo")
    assert batch.global_batch_size == 16


def test_an_epoch_of_prompts_counts_no_completions_and_a_group_reads_its_prompt_once(tmp_path: Path) -> None:
    text = DATA + GRPO + ", duration: 10 epochs, global_batch_size: 16 sequences, group_size: 8}"
    # 3,125 prompts of 32 tokens, two of them a step, ten times.
    assert work(tmp_path, text, "grpo").steps == 3125 * 10 // 2
    assert not found(tmp_path, text, "SPC203")


def test_a_batch_of_online_tokens_is_held_against_prompt_and_completion(tmp_path: Path) -> None:
    (diagnostic,) = found(tmp_path, DATA + GRPO + ", duration: 10 steps, global_batch_size: 1000 tokens}", "SPC301")
    assert "96-token sequences" in diagnostic.headline
    assert len(diagnostic.labels) == 3


def test_epochs_of_pairs_say_that_they_are_counted_as_if_full(tmp_path: Path) -> None:
    (diagnostic,) = found(tmp_path, DATA + DPO + ", duration: 1 epoch}", "SPC218")
    assert "13 steps" in diagnostic.headline
    assert work(tmp_path, DATA + DPO + ", duration: 1 epoch}", "dpo").steps == 13
    assert not found(tmp_path, DATA + DPO + ", duration: 13 steps}", "SPC218")


def test_epochs_of_unknown_data_are_a_warning_where_only_the_plan_needs_them(tmp_path: Path) -> None:
    text = "stages:\n  sft: {kind: sft, from: pretrain, data: text, duration: 2 epochs}"
    (diagnostic,) = found(tmp_path, text, "SPC212")
    assert (diagnostic.severity, outcome(tmp_path, text).failed) == ("warning", False)


def test_a_stage_that_names_itself_is_told_so_at_the_name(tmp_path: Path) -> None:
    text = "stages:\n  dpo: {kind: dpo, from: pretrain, reference: dpo, data: text, duration: 5 steps}"
    (diagnostic,) = found(tmp_path, text, "SPC506")
    assert diagnostic.headline == "stage `dpo` is its own reference"
    assert diagnostic.help == "use `reference: pretrain`"
    assert diagnostic.labels[0].span.column > text.index("reference") - len("stages:\n")
    (diagnostic,) = found(tmp_path, text.replace("from: pretrain, reference: dpo", "from: dpo"), "SPC506")
    assert (diagnostic.headline, diagnostic.help) == ("stage `dpo` starts from itself", "use `from: pretrain`")


def test_heads_that_help_offers_pass_every_check_of_their_sizes(tmp_path: Path) -> None:
    (odd,) = found(tmp_path, "model: {hidden_size: 65}", "SPC101")
    assert odd.help == "use a `hidden_size` of 64 or 72, or set `attention.head_dim`"
    (six,) = found(tmp_path, "model: {hidden_size: 80, attention: {num_heads: 6}}", "SPC101")
    assert six.help == "use 4 or 8 heads, or a `hidden_size` of 72 or 84, or set `attention.head_dim`"
    for size, heads in ((64, 4), (72, 4), (80, 4), (80, 8), (72, 6), (84, 6)):
        text = f"model: {{hidden_size: {size}, attention: {{num_heads: {heads}}}}}"
        assert not outcome(tmp_path, text).failed


def test_llama3_scaling_is_offered_no_number_that_its_factor_does_not_give(tmp_path: Path) -> None:
    (diagnostic,) = found(tmp_path, "model: {position: {scaling: {kind: llama3, factor: 8}}}", "SPC113")
    assert diagnostic.help == "add `original_context_length`: the context that the model had before the scaling"


def test_other_files_in_a_sweep_are_told_what_the_key_does_with_them(tmp_path: Path) -> None:
    (diagnostic,) = found(tmp_path, "sweep: {grid: {data.text.sources.files.path: [a.txt, b.txt]}}", "SPC026")
    assert diagnostic.severity == "warning"
    assert "read other files under one name" in diagnostic.headline
    assert "an entry of its own in `data`" in (diagnostic.help or "")


def test_the_rates_of_gpt3_are_for_pretraining(tmp_path: Path) -> None:
    rate = "optimizer: {kind: adamw, learning_rate: 0.1}"
    text = f"stages:\n  sft: {{kind: sft, from: pretrain, data: text, duration: 5 steps, {rate}}}"
    assert not found(tmp_path, text, "SPC316")
    assert found(tmp_path, f"stages: {{pretrain: {{{rate}}}}}", "SPC316")


@pytest.mark.parametrize(
    ("path", "meant"), [("~/y", "${env:HOME}/y"), ("$DATA/y", "${env:DATA}/y"), ("a$b", "a${env:b}")]
)
def test_what_a_shell_would_expand_is_told_apart(path: str, meant: str, tmp_path: Path) -> None:
    text = "data: {text: {sources: {files: {path: '%s'}}}}"
    (diagnostic,) = found(tmp_path, text % path, "SPC219")
    assert diagnostic.help == f"use `{meant}`"
    assert not found(tmp_path, text % "${env:DATA}/a~b", "SPC219")


@pytest.mark.parametrize(("pattern", "words"), [("(", "is no regular expression"), ("answer", "has no group")])
def test_a_pattern_that_finds_no_answer_is_refused(pattern: str, words: str, tmp_path: Path) -> None:
    text = DATA + GRPO.replace("exact_match", f"exact_match, pattern: '{pattern}'") + ", duration: 10 steps}"
    (diagnostic,) = found(tmp_path, text, "SPC516")
    assert words in diagnostic.headline


def test_a_suite_that_scores_the_base_too_keeps_its_prompts_and_gets_a_second_one(tmp_path: Path) -> None:
    text = """tokenizer: {kind: byte, chat_template: chatml}
suites: {chat: {tasks: [{task: ifeval}]}}
stages:
  sft: {kind: sft, from: pretrain, data: text, duration: 5 steps}
  eval: {kind: evaluate, models: [%s], suites: [chat]}
"""
    (tuned,) = found(tmp_path, text % "sft", "SPC603")
    assert tuned.help == "add `apply_chat_template: true` to suite `chat`"
    (both,) = found(tmp_path, text % "pretrain, sft", "SPC603")
    assert both.help is not None
    assert both.help.endswith("second suite with `apply_chat_template: true`: `pretrain` knows no turns")
