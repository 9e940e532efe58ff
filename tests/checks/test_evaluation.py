"""Suites: tasks that exist, asked in the way that the model learned, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.checking import found, said

STAGES = "stages:\n  sft: {kind: sft, from: pretrain, data: text, duration: 100 steps}\n"
CHAT = "tokenizer: {chat_template: chatml}\n"


def suite(tasks: str, more: str = "") -> str:
    return f"suites: {{core: {{tasks: [{tasks}]{more}}}}}\n"


def test_a_task_that_the_harness_lacks_is_named_with_its_version(tmp_path: Path) -> None:
    (one,) = found(tmp_path, suite("{task: gsm9k}"))
    assert (one.code, one.headline) == ("SPC601", "lm-eval 0.4.13 has no task `gsm9k`")
    assert one.help == "did you mean `gsm8k`?"
    assert said(tmp_path, suite("{task: gsm8k}, {task: mmlu}, {task: ai2_arc}")) == []


@pytest.mark.parametrize(
    ("model", "start", "more", "codes"),
    [
        ("sft", CHAT, "", ["SPC603"]),
        ("sft", CHAT, ", apply_chat_template: true", []),
        ("pretrain", CHAT, "", []),
        ("sft", "", "", []),
        ("sft", "", ", apply_chat_template: true", ["SPC607"]),
    ],
)
def test_a_model_that_learned_turns_is_asked_in_turns(
    model: str, start: str, more: str, codes: list[str], tmp_path: Path
) -> None:
    evaluated = f"  evaluate: {{kind: evaluate, models: [{model}], suites: [core]}}\n"
    text = start + suite("{task: hellaswag}, {task: ifeval}", more) + STAGES + evaluated
    assert [code for code, _ in said(tmp_path, text)] == codes


def test_tasks_that_are_no_chat_need_no_template(tmp_path: Path) -> None:
    evaluated = "  evaluate: {kind: evaluate, models: [sft], suites: [core]}\n"
    assert said(tmp_path, CHAT + suite("{task: hellaswag}") + STAGES + evaluated) == []


def test_results_are_kept_by_the_name_of_the_task(tmp_path: Path) -> None:
    text = suite("{task: gsm8k}, {task: gsm8k, num_fewshot: 0}")
    assert said(tmp_path, text) == [("SPC605", "task `gsm8k` is named twice in suite `core`")]
    data = "data: {more: {sources: {a: {path: x}}}}\n"
    text = data + suite("{task: bits_per_byte, data: text}, {task: bits_per_byte, data: more}")
    assert said(tmp_path, text) == []


@pytest.mark.parametrize(("more", "codes"), [("", ["SPC609"]), (", limit: 10", [])])
def test_two_stages_that_score_the_same_are_seen(more: str, codes: list[str], tmp_path: Path) -> None:
    text = suite("{task: hellaswag}") + "stages:\n  a: {kind: evaluate, models: [pretrain], suites: [core]}\n"
    text += f"  b: {{kind: evaluate, models: [pretrain], suites: [core]{more}}}\n"
    assert [code for code, _ in said(tmp_path, text)] == codes


@pytest.mark.parametrize(("data", "codes"), [("other", ["SPC608"]), ("text", [])])
def test_a_baseline_is_scored_where_its_data_is(data: str, codes: list[str], tmp_path: Path) -> None:
    text = "data: {other: {sources: {a: {path: x}}}}\n" + suite("{task: bits_per_byte, data: text}")
    text += "stages: {a: {kind: evaluate, models: [pretrain], suites: [core], "
    text += f"baselines: [{{kind: byte_trigram, data: {data}}}]}}}}\n"
    assert [code for code, _ in said(tmp_path, text)] == codes
