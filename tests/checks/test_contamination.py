"""What is trained on and scored, found wherever the model has read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.checking import found, said

EVALUATED = """
data: {{math: {{sources: {{a: {{kind: huggingface, {source}}}}}}}}}
suites: {{core: {{tasks: [{{task: {task}}}]}}}}
stages:
  sft: {{kind: sft, from: pretrain, data: math, duration: 100 steps}}
  dpo: {{kind: dpo, from: sft, reference: sft, data: text, duration: 100 steps}}
  evaluate: {{kind: evaluate, models: [{model}], suites: [core]}}
"""


def spec(source: str, task: str = "gsm8k", model: str = "sft") -> str:
    return EVALUATED.format(source=source, task=task, model=model)


@pytest.mark.parametrize(
    "source",
    [
        "dataset: openai/gsm8k, split: test",
        "dataset: gsm8k, split: test",
        "dataset: OpenAI/GSM8K, config: main, split: test",
        "dataset: openai/gsm8k, split: 'train[:10%]+test[:5%]'",
        "dataset: openai/gsm8k, split: all",
    ],
)
def test_a_scored_split_is_found_however_it_is_written(source: str, tmp_path: Path) -> None:
    headline = "`openai/gsm8k:test` is trained on in `sft` and scored in suite `core`"
    assert said(tmp_path, spec(source)) == [("SPC204", headline)]


@pytest.mark.parametrize(
    "source",
    [
        "dataset: openai/gsm8k, split: train",
        "dataset: openai/gsm8k, config: socratic, split: test",
        "dataset: other/gsm8k, split: test",
        "dataset: openai/gsm8k",
    ],
)
def test_another_split_config_or_owner_is_another_text(source: str, tmp_path: Path) -> None:
    assert said(tmp_path, spec(source)) == []


def test_what_a_model_read_before_counts_and_what_came_after_does_not(tmp_path: Path) -> None:
    source = "dataset: openai/gsm8k, split: test"
    assert [code for code, _ in said(tmp_path, spec(source, model="dpo"))] == ["SPC204"]
    assert said(tmp_path, spec(source, model="pretrain")) == []


def test_a_group_scores_what_its_tasks_score(tmp_path: Path) -> None:
    source = "dataset: cais/mmlu, config: anatomy, split: test"
    headline = "`cais/mmlu:test` is trained on in `sft` and scored in suite `core`"
    assert said(tmp_path, spec(source, task="mmlu")) == [("SPC204", headline)]
    assert said(tmp_path, spec(source, task="mmlu_astronomy")) == []


def test_the_help_is_a_split_that_nothing_scores(tmp_path: Path) -> None:
    (one,) = found(tmp_path, spec("dataset: openai/gsm8k, split: test"))
    assert one.help == "train on `split: train`"
    # ifeval scores the only split that there is.
    (one,) = found(tmp_path, spec("dataset: google/IFEval, split: train", task="ifeval"))
    assert one.help == "leave source `a` out"


def test_one_source_is_one_mistake_with_every_task_that_scores_it(tmp_path: Path) -> None:
    text = spec("dataset: openai/gsm8k, split: test").replace("task: gsm8k", "task: gsm8k}, {task: gsm8k_cot")
    (one,) = found(tmp_path, text)
    assert len(one.labels) == 3


@pytest.mark.parametrize(("ours", "theirs", "codes"), [("1%", "5%", ["SPC204"]), ("5%", "5%", []), ("5%", "1%", [])])
def test_files_of_two_data_sets_are_held_out_by_the_smaller_share(
    ours: str, theirs: str, codes: list[str], tmp_path: Path
) -> None:
    text = f"""
data:
  text: {{holdout: {ours}}}
  scored: {{sources: {{a: {{path: "text/*.txt"}}}}, holdout: {theirs}}}
suites: {{held_out: {{tasks: [{{task: bits_per_byte, data: scored}}]}}}}
stages: {{evaluate: {{kind: evaluate, models: [pretrain], suites: [held_out]}}}}
"""
    assert [code for code, _ in said(tmp_path, text)] == codes
