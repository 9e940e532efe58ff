"""The table of lm-eval's tasks is lm-eval's, and answers without it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from specc.spec import harness
from specc.spec.tuning import CHAT_TASKS


def installed() -> str:
    try:
        return f"lm-eval {version('lm_eval')}"
    except PackageNotFoundError:
        return "no lm_eval"


@pytest.mark.slow
def test_the_table_is_what_the_installed_harness_says() -> None:
    if installed() != harness.harness():
        pytest.skip(f"the table is of {harness.harness()}, and here is {installed()}")
    from tests.spec.fill_task_table import table

    committed = Path(harness.__file__).with_name(harness.FILE).read_text(encoding="utf-8")
    assert table() == committed, "run `python -m tests.spec.fill_task_table`"


def test_the_table_is_of_the_version_that_is_installed() -> None:
    if installed() == "no lm_eval":
        pytest.skip("lm_eval is not installed")
    assert harness.harness() == installed(), "run `python -m tests.spec.fill_task_table`"


@pytest.mark.parametrize(
    ("name", "dataset", "config", "split"),
    [
        # As the YAML files of lm-eval 0.4.13 have them, such as gsm8k/gsm8k.yaml and hellaswag/hellaswag.yaml.
        ("gsm8k", "openai/gsm8k", "main", "test"),
        ("hellaswag", "Rowan/hellaswag", None, "validation"),
        ("arc_challenge", "allenai/ai2_arc", "ARC-Challenge", "test"),
        ("ifeval", "google/IFEval", None, "train"),
    ],
)
def test_a_task_scores_the_split_that_its_yaml_names(name: str, dataset: str, config: str | None, split: str) -> None:
    (found,) = harness.scored(name)
    assert (found.dataset, found.config, found.split) == (dataset, config, split)


def test_a_group_scores_what_its_tasks_score() -> None:
    subjects = list(harness.scored("mmlu"))
    assert len(subjects) == 57  # Hendrycks et al. 2021, arXiv:2009.03300
    assert {found.dataset for found in subjects} == {"cais/mmlu"}
    assert {found.config for found in harness.scored("ai2_arc")} == {"ARC-Challenge", "ARC-Easy"}


@pytest.mark.parametrize(
    "name", ["cais/mmlu", "gsm8", "", "-", "gsm8k\t4167", "hellaswag\n", "lm-eval 0.4.13", "Gsm8k"]
)
def test_what_is_no_name_of_a_task_is_unknown(name: str) -> None:
    assert not harness.knows(name)


@pytest.mark.parametrize(
    ("name", "near"),
    [("gsm9k", "gsm8k"), ("hellaswagg", "hellaswag"), ("Winogrande", "winogrande"), ("arc-easy", "arc_easy")],
)
def test_a_misspelt_task_has_a_near_one(name: str, near: str) -> None:
    assert harness.near(name) == near


def test_tasks_for_chat_models_are_tasks() -> None:
    assert all(harness.knows(name) for name in CHAT_TASKS)
