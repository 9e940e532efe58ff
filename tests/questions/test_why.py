"""`specc why`: a value and where it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specc import driver
from specc.questions.why import Answer, answers, below, near
from specc.questions.why_text import spelt
from tests.conftest import ROOT, Specc

SPEC_70B = str(ROOT / "specs/70b_alibi.yaml")
CHAIN = {
    "spec.yaml": "extends: middle.yaml\nmodel: {num_layers: 3, position: {kind: alibi}}\n",
    "middle.yaml": "extends: [presets/tiny.yaml]\nmodel:\n  num_layers: 5\n  hidden_size: 128\n",
}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for name, text in CHAIN.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / "spec.yaml"


def ask(spec: Path, path: str, *sets: str) -> Answer:
    outcome = driver.check(spec, sets)
    assert outcome.source is not None
    assert outcome.spec is not None
    (answer,) = below(answers(outcome.source, outcome.spec, outcome.plan), path)
    return answer


def places(answer: Answer) -> list[tuple[str, str, int]]:
    return [(Path(each.span.file).name, each.text, each.span.line) for each in answer.replaced]


def test_a_value_of_the_spec_remembers_every_preset_below_it(spec: Path) -> None:
    answer = ask(spec, "model.num_layers")
    assert (answer.value, answer.origin) == (3, "spec")
    assert answer.span is not None
    assert (answer.span.line, answer.span.column) == (2, 21)
    assert places(answer) == [("middle.yaml", "5", 3), ("tiny.yaml", "2", 11)]


def test_a_value_of_a_preset_says_which_chain_it_came_through(spec: Path) -> None:
    answer = ask(spec, "model.hidden_size")
    assert (answer.value, answer.origin) == (128, "preset")
    assert [Path(file).name for file in answer.chain] == ["spec.yaml", "middle.yaml"]
    assert places(answer) == [("tiny.yaml", "64", 10)]
    deeper = ask(spec, "model.context_length")
    assert [Path(file).name for file in deeper.chain] == ["spec.yaml", "middle.yaml", "tiny.yaml"]
    assert places(deeper) == []


def test_overrides_stand_on_top_in_their_order(spec: Path) -> None:
    answer = ask(spec, "model.num_layers", "model.num_layers=7", "seed=2", "model.num_layers=8")
    assert (answer.value, answer.origin) == (8, "override")
    assert [text for _, text, _ in places(answer)] == ["7", "3", "5", "2"]


def test_a_section_of_another_kind_replaces_what_was_in_it(spec: Path) -> None:
    assert places(ask(spec, "model.position.kind")) == [("tiny.yaml", "rope", 14)]
    whole = ask(spec, "model.norm.kind", "model.norm={kind: layernorm}")
    assert places(whole) == [("tiny.yaml", "rmsnorm", 15)]


def test_an_item_of_a_list_remembers_too(spec: Path) -> None:
    sets = ("data.text.filters=[{kind: language, keep: [en]}]", "data.text.filters.0.keep=[de]")
    assert [text for _, text, _ in places(ask(spec, "data.text.filters.0.keep", *sets))] == ["[en]"]


def test_a_default_says_so_with_its_meaning(spec: Path) -> None:
    answer = ask(spec, "model.attention.bias")
    assert (answer.value, answer.origin, answer.span, answer.effect) == ("none", "default", None, "identity")
    assert answer.meaning.startswith("Which projections have biases")


def test_auto_is_answered_with_what_it_became(spec: Path) -> None:
    answer = ask(spec, "model.attention.head_dim")
    assert (answer.value, answer.origin) == (32, "derived")
    written = ask(spec, "model.attention.head_dim", "model.attention.head_dim=64")
    assert (written.value, written.origin, written.derivation) == (64, "override", None)


def test_what_was_left_to_the_planner_is_answered_with_its_choice(spec: Path) -> None:
    left = ask(spec, "stages.pretrain.parallelism.micro_batch_size")
    chosen = ask(spec, "stages.pretrain.layout.micro_batch_size")
    assert (left.value, left.origin, left.derivation) == (chosen.value, "planned", chosen.derivation)
    given = ask(spec, "stages.pretrain.parallelism.micro_batch_size", "stages.pretrain.parallelism.micro_batch_size=2")
    assert (given.value, given.origin) == (2, "override")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234, "1234"), (1e-5, "1.0e-5"), (2.5e20, "2.5e+20"), (0.1, "0.1"), (True, "true"),
     (None, "null"), (0.0001, "1.0e-4"), ("a", "a"),
     ((0.9, 1e-8), "[0.9, 1.0e-8]"), ("class ", "'class '")],
)  # fmt: skip
def test_settings_are_spelt_as_a_person_writes_them(value: object, text: str) -> None:
    assert spelt(value) == text


def test_every_setting_and_derived_value_has_one_answer() -> None:
    outcome = driver.check(Path(SPEC_70B))
    assert outcome.source is not None
    assert outcome.spec is not None
    assert outcome.plan is not None
    known = answers(outcome.source, outcome.spec, outcome.plan)
    paths = [answer.path for answer in known]
    assert len(paths) == len(set(paths))
    assert {setting.path for setting in outcome.plan.experiment.settings} <= set(paths)
    assert all(answer.meaning for answer in known)


def test_the_command_quotes_line_and_caret(specc: Specc, spec: Path) -> None:
    said = specc("why", "spec.yaml", "model.num_layers")
    assert said.code == 0
    assert said.out.splitlines()[:8] == [
        "model.num_layers = 3  (identity: another experiment)",
        "  Number of blocks.",
        "",
        "written in the spec:",
        "  --> spec.yaml:2:21",
        "   |",
        " 2 | model: {num_layers: 3, position: {kind: alibi}}",
        "   |                     ^ this counts",
    ]


def test_the_steps_of_a_stage_show_the_arithmetic(specc: Specc) -> None:
    said = specc("why", SPEC_70B, "stages.pretrain.steps").out
    assert "stages.pretrain.steps = 476,838" in said
    assert "steps = ceil(duration / (batch_sequences * context_length))" in said
    assert "      = ceil(2,000,000,000,000 / (1,024 * 4,096))" in said
    assert "2T tokens  stages.pretrain.duration, " in said


def test_a_choice_of_the_planner_shows_what_it_did_not_take(specc: Specc) -> None:
    said = specc("why", SPEC_70B, "stages.pretrain.layout.micro_batch_size").out
    assert "the fastest layout that fits" in said
    assert "rejected: ZeRO-3 with full checkpointing at micro-batch 1: " in said


def test_the_arithmetic_is_wrapped_at_the_terminal(specc: Specc) -> None:
    said = specc("why", SPEC_70B, "model.parameters").out
    assert "model.parameters = 68,455,505,920" in said
    assert max(len(line) for line in said.splitlines() if "specs/" not in line) <= 80


def test_without_a_path_everything_is_listed_within_the_terminal(specc: Specc) -> None:
    said = specc("why", SPEC_70B)
    assert said.code == 0
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    origins = {line.rsplit(maxsplit=1)[-1] for line in lines if "  " in line}
    assert {"spec", "preset", "default", "derived", "planned"} <= origins


def test_a_section_lists_what_is_below_it(specc: Specc) -> None:
    lines = specc("why", SPEC_70B, "model.attention").out.splitlines()
    shown = [line.split()[0] for line in lines]
    assert all(path.startswith("model.attention.") for path in shown)
    assert {f"model.attention.{name}" for name in ("kind", "num_heads", "num_kv_heads", "head_dim")} <= set(shown)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("head_dim", "model.attention.head_dim"),
        ("model.num_layer", "model.num_layers"),
        ("stages.pretrain.stps", "stages.pretrain.steps"),
        ("stages.pretrain.micro_batch_size", "stages.pretrain.layout.micro_batch_size"),
    ],
)
def test_an_unknown_path_gets_a_suggestion(asked: str, meant: str, specc: Specc) -> None:
    said = specc("why", SPEC_70B, asked)
    assert said.code == 1
    assert f"there is no value `{asked}`; did you mean" in said.err
    assert f"`{meant}`" in said.err


def test_json_has_the_documented_keys(specc: Specc, spec: Path) -> None:
    record: dict[str, Any] = json.loads(specc("why", "spec.yaml", "model.num_layers", "--json").out)
    assert (record["path"], record["value"], record["origin"]) == ("model.num_layers", 3, "spec")
    assert record["at"] == {"file": "spec.yaml", "line": 2, "column": 21}
    assert [each["text"] for each in record["replaced"]] == ["5", "2"]
    steps = json.loads(specc("why", SPEC_70B, "stages.pretrain.steps", "--json").out)
    assert steps["inputs"][0] == {"name": "duration", "value": 2 * 10**12, "path": "stages.pretrain.duration"}
    listed = json.loads(specc("why", "spec.yaml", "--json").out)
    assert isinstance(listed, list)


def test_a_spec_with_errors_still_says_what_was_written(specc: Specc, spec: Path) -> None:
    said = specc("why", "spec.yaml", "model.num_layers", "--set", "model.attention.num_kv_heads=3")
    assert said.code == 0
    assert "model.num_layers = 3" in said.out
    assert "warning: the spec has errors" in said.err
    unread = specc("why", "spec.yaml", "model.num_layers", "--set", "model.num_layer=3")
    assert unread.code == 1
    assert "SPC003" in unread.err


def test_suggestions_are_paths_that_exist() -> None:
    known = tuple(Answer(path, 1, "spec", "") for path in ("model.a", "stages.b.a", "seed"))
    assert near(known, "a") == ("model.a", "stages.b.a")
    assert near(known, "sed") == ("seed",)
    assert near(known, "zzzzz") == ()
