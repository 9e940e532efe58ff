"""Curricula that contradict themselves, their data or their layout; and the lengths that they come to."""

from __future__ import annotations

import pytest

from runners.curriculum import Curriculum, LinearLength, SteppedLength, row_length
from specc import driver
from specc.checks.curricula import row_lengths
from specc.diagnostics import Diagnostic
from tests.compiling import TINY, files, planned

CURRICULUM = "stages.pretrain.curriculum"
SOURCES = "data.text.sources={web: {path: w}, code: {path: c}}"


def found(*sets: str) -> list[Diagnostic]:
    return [one for one in driver.check(TINY, sets).diagnostics if one.severity != "note"]


def test_a_curriculum_without_contradictions_is_taken() -> None:
    lengths = "[{until: 2Ki tokens, length: 32 tokens}, {until: 3%, length: 64 tokens}]"
    length = f"sequence_length: {{kind: steps, lengths: {lengths}}}"
    mixture = "mixture: [{until: 10 steps, weights: {web: 0.5, code: 0.5}}, {weights: {code: 1.0}}]"
    assert not found(SOURCES, f"{CURRICULUM}={{{length}, {mixture}, difficulty: {{}}}}")


def test_a_point_of_the_stage_in_tokens_is_compared_in_steps() -> None:
    # A step of the tiny spec is 8 x 128 tokens: 2Ki tokens are 2 steps, 2% of 100 steps as well.
    lengths = "[{until: 2Ki tokens, length: 32 tokens}, {until: 2%, length: 64 tokens}]"
    (one,) = found(f"{CURRICULUM}={{sequence_length: {{kind: steps, lengths: {lengths}}}}}")
    assert one.code == "SPC221"
    assert [label.text for label in one.labels] == ["step 2", "step 2"]


def test_weights_of_a_phase_are_divided_by_their_sum_where_those_of_the_data_are() -> None:
    phases = f"{CURRICULUM}={{mixture: [{{weights: {{web: 3.0, code: 1.0}}}}]}}"
    (one,) = found(SOURCES, phases)
    assert (one.code, one.headline) == ("SPC228", "the weights of a phase add up to 4, not 1")
    assert not found(SOURCES, phases, "data.text.normalize_weights=true")


def test_each_phase_but_the_last_has_an_end() -> None:
    phases = "mixture: [{weights: {web: 1.0}}, {until: 50%, weights: {code: 1.0}}]"
    said = [(one.code, one.headline) for one in found(SOURCES, f"{CURRICULUM}={{{phases}}}")]
    assert said == [
        ("SPC222", "phase 1 of 2 has no end, and another one follows it"),
        ("SPC222", "the last of 2 phases ends at `50%`, and nothing follows it"),
    ]


@pytest.mark.parametrize("context", [128, 144, 1000])
@pytest.mark.parametrize(
    ("written", "runs"),
    [
        ("{kind: linear, start: 16 tokens, duration: 90%}", LinearLength(16, 90)),
        (
            "{kind: steps, lengths: [{until: 9%, length: 24 tokens}, {until: 80%, length: 64 tokens}]}",
            SteppedLength(((9, 24), (80, 64))),
        ),
    ],
)
def test_the_lengths_that_are_checked_are_those_that_a_run_has(
    context: int, written: str, runs: LinearLength | SteppedLength
) -> None:
    plan = planned(f"model.context_length={context}", f"{CURRICULUM}={{sequence_length: {written}}}")
    curriculum = Curriculum(runs)
    had = {row_length(context, curriculum.parts(step, context)) for step in range(100)} - {context}
    checked = row_lengths(plan.experiment.stage("pretrain").work)
    assert had <= {*checked}
    assert max(checked) == max(had)


def test_the_program_has_every_number_as_a_literal() -> None:
    curriculum = "sequence_length: {kind: linear, start: 16 tokens, duration: 25%}, difficulty: {duration: 4Ki tokens}"
    plan = planned("stages.pretrain.packing.kind=best_fit", f"{CURRICULUM}={{{curriculum}}}")
    program = files(plan)["train.py"]
    names: dict[str, object] = {}
    block = program[program.index("    curriculum=") : program.index("\n)\n", program.index("    curriculum="))]
    exec(f"from runners.curriculum import *\nmade = dict(\n{block}\n)", names)  # noqa: S102
    made = names["made"]
    assert isinstance(made, dict)
    assert made["curriculum"].sequence_length == LinearLength(16, 25)
    assert (made["curriculum"].difficulty.start, made["curriculum"].difficulty.steps) == (0.01, 4)
    assert '    packing="best_fit",' in program


def test_a_curriculum_in_other_words_is_the_same_experiment_and_another_one_is_not() -> None:
    def key(*sets: str) -> str:
        return planned(*sets).experiment.stage("pretrain").key

    plain = key()
    one, other = (key(f"{CURRICULUM}={{difficulty: {{duration: {part}}}}}") for part in ("50%", "50 steps"))
    assert one == other != plain
    assert key(f"{CURRICULUM}={{difficulty: {{duration: 51 steps}}}}") != one
    assert key("stages.pretrain.packing.kind=best_fit") != plain
    assert key("stages.pretrain.packing.kind=concatenate") == plain
