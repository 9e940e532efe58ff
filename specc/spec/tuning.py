"""Tuned models: the texts they read, what they are compared with, and how they are scored."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from specc.diagnostics import At, Finding
from specc.kinds.stage.evaluate import Evaluate
from specc.kinds.stage.preference import ComparingStage
from specc.kinds.stage.sft import Sft
from specc.kinds.tokenizer.chat import NONE
from specc.spec.lineage import lineage
from specc.spec.spec import Spec

# Tasks of lm-eval 0.4.13 whose prompts are instructions to a chat model.
CHAT_TASKS = frozenset({
    "arc_challenge_chat", "humaneval_instruct", "humaneval_64_instruct", "ifeval", "ifeval_ca", "ifeval_es",
    "leaderboard_ifeval", "leaderboard_instruction_following", "mbpp_instruct", "mbpp_plus_instruct",
    "norrewrite_instruct", "norsummarize_instruct",
})  # fmt: skip


def check_tuning(spec: Spec) -> Iterator[Finding]:
    """Turns without a template, references of another tokenizer, and scores that mean something else or nothing."""
    yield from _turns(spec)
    yield from _references(spec)
    yield from _tokenizers(spec)
    yield from _chat_suites(spec)
    yield from _idle_baselines(spec)
    yield from _scored_twice(spec)


def _turns(spec: Spec) -> Iterator[Finding]:
    tokenizer = spec.tokenizer
    for name, stage in spec.stages.items():
        if isinstance(stage, Sft) and stage.loss_on == "assistant" and tokenizer.chat_template == NONE:
            yield Finding(
                "SPC508",
                f"loss on assistant turns needs a chat template, and tokenizer `{tokenizer.lower().name}` has none",
                (At(("stages", name, "loss_on")), At(("tokenizer",), of_key=True)),
                ("without a template nothing says where a turn begins and ends",),
                help="add `chat_template: chatml` to `tokenizer`, or use `loss_on: all`",
            )


def _references(spec: Spec) -> Iterator[Finding]:
    for name, stage in spec.stages.items():
        if isinstance(stage, ComparingStage) and stage.compares() and stage.reference is None:
            yield Finding(
                "SPC501",
                f"`{stage.kind}` compares with a reference model, and stage `{name}` names none",
                (At(("stages", name, "kind")), At(("stages", name, "from"), "the usual reference")),
                help=f"add `reference: {stage.base}`",
            )


def _tokenizers(spec: Spec) -> Iterator[Finding]:
    policy = spec.tokenizer.lower().name
    for name, stage in spec.stages.items():
        if not isinstance(stage, ComparingStage) or stage.reference not in spec.models:
            continue
        other = spec.models[stage.reference].tokenizer
        if other == policy:
            continue
        places = (
            At(("stages", name, "reference")),
            At(("models", stage.reference, "tokenizer")),
            At(("tokenizer",), of_key=True),
        )
        yield Finding(
            "SPC502",
            f"stage `{name}` mixes tokenizers: policy `{policy}`, reference `{other}`",
            places,
            ("the loss compares the probabilities of the same tokens",),
            help=f"`reference: {stage.base}` reads `{policy}`",
        )


def _chat_suites(spec: Spec) -> Iterator[Finding]:
    """A template that is not there, and a tuned model that is asked outside of the turns it knows."""
    for name, suite in spec.suites.items():
        at = ("suites", name)
        if suite.apply_chat_template and spec.tokenizer.chat_template == NONE:
            tokenizer = spec.tokenizer.lower().name
            yield Finding(
                "SPC607",
                f"suite `{name}` applies a chat template, and tokenizer `{tokenizer}` has none",
                (At((*at, "apply_chat_template")), At(("tokenizer",), of_key=True)),
                help="add `chat_template: chatml` to `tokenizer`, or leave `apply_chat_template` out",
            )
        tuned = _tuned_by(spec, name)
        asked = [index for index, task in enumerate(suite.tasks) if task.task in CHAT_TASKS]
        if tuned is not None and asked and not suite.apply_chat_template:
            task = suite.tasks[asked[0]].task
            yield Finding(
                "SPC603",
                f"`{tuned}` trains on chat turns, and `{task}` runs without the chat template",
                (At((*at, "tasks", asked[0], "task")), At(("stages", tuned, "kind"))),
                ("a model that was tuned on turns scores lower on prompts that are none",),
                help=_templated(spec, name),
                severity="warning",
            )


def _templated(spec: Spec, suite: str) -> str:
    """The template for the suite, or for one of its own where a model without turns is scored on it too."""
    scored = [
        model
        for stage in spec.stages.values()
        if isinstance(stage, Evaluate) and suite in stage.suites
        for model in stage.models
    ]
    if all(any(isinstance(spec.stages[name], Sft) for name in lineage(spec, model)) for model in scored):
        return f"add `apply_chat_template: true` to suite `{suite}`"
    base = next(m for m in scored if not any(isinstance(spec.stages[name], Sft) for name in lineage(spec, m)))
    return f"score the tuned models on a second suite with `apply_chat_template: true`: `{base}` knows no turns"


def _tuned_by(spec: Spec, suite: str) -> str | None:
    """The stage that taught chat turns to a model which the suite scores."""
    if spec.tokenizer.chat_template == NONE:
        return None
    stages = [stage for stage in spec.stages.values() if isinstance(stage, Evaluate) and suite in stage.suites]
    trained = (name for stage in stages for model in stage.models for name in lineage(spec, model))
    return next((name for name in trained if isinstance(spec.stages[name], Sft)), None)


def _idle_baselines(spec: Spec) -> Iterator[Finding]:
    for name, stage in spec.stages.items():
        if not isinstance(stage, Evaluate):
            continue
        scored = [task.data for suite in stage.suites for task in spec.suites[suite].tasks if task.data is not None]
        for index, baseline in enumerate(stage.baselines):
            if baseline.data not in scored:
                listed = " or ".join(f"`data: {data}`" for data in dict.fromkeys(scored))
                yield Finding(
                    "SPC608",
                    f"baseline `{baseline.kind}` is fitted on `{baseline.data}`, which no suite of `{name}` scores",
                    (At(("stages", name, "baselines", index, "data")), At(("stages", name, "suites"), of_key=True)),
                    ("it would be fitted and never scored",),
                    help=f"use {listed}" if listed else "leave the baseline out",
                    severity="warning",
                )


def _scored_twice(spec: Spec) -> Iterator[Finding]:
    first: dict[tuple[str, str, int | None], tuple[str, int]] = {}
    for name, index, model, suite, limit in _scorings(spec):
        other, at = first.setdefault((model, suite, limit), (name, index))
        if other != name:
            yield Finding(
                "SPC609",
                f"`{other}` and `{name}` both score `{model}` on suite `{suite}`",
                (At(("stages", name, "models", index), "again here"), At(("stages", other, "models", at))),
                help=f"leave `{model}` or `{suite}` out of one of them",
                severity="warning",
            )


def _scorings(spec: Spec) -> Iterator[tuple[str, int, str, str, int | None]]:
    """Each stage that evaluates, with each of its models (by index) and each of its suites, and its limit."""
    for name, stage in spec.stages.items():
        if isinstance(stage, Evaluate):
            pairs = product(enumerate(stage.models), stage.suites)
            yield from ((name, index, model, suite, stage.limit) for (index, model), suite in pairs)
