"""Lengths, rates and sizes of training that contradict each other, or that nobody would want."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.ir import Experiment, OptimizerRule, Stage, Training

COMPUTE_OPTIMAL = 20.0
"""Tokens per parameter (Hoffmann et al. 2022, arXiv:2203.15556, table 3: 19.6 to 22.6 from 400 M to 10 T)."""
_FEW_TOKENS = 0.5
"""Share of the compute-optimal tokens below which a model is called small in data."""
GPT3_RATES = (
    (125e6, 6e-4),
    (350e6, 3e-4),
    (760e6, 2.5e-4),
    (1.3e9, 2e-4),
    (2.7e9, 1.6e-4),
    (6.7e9, 1.2e-4),
    (13e9, 1e-4),
    (175e9, 0.6e-4),
)
"""Parameters and peak learning rate of AdamW (Brown et al. 2020, arXiv:2005.14165, table 2.1)."""
_FAR_ABOVE = 20
"""Times GPT-3's rate: what is beyond is a slip of the exponent. Small models train at up to ten times it."""
_LONG_AVERAGE = 100
"""Steps; a shorter memory than this is never called too long: short runs are made to try things out."""
_ADAM = ("adamw", "adamw_8bit")
"""Kinds whose learning rate and second moment are Adam's."""
_BETAS = (0.999, 0.99, 0.98, 0.95, 0.9)
_USUAL_LOG = 10
"""Steps between reports where the user says nothing."""


def check_steps(experiment: Experiment) -> Iterator[Finding]:
    """`steps` that do not follow from the duration."""
    for stage, work in _training(experiment):
        asserted, steps = work.asserted_steps, work.steps
        if asserted is None or steps is None or asserted == steps:
            continue
        at = ("stages", stage.name)
        duration = _written(experiment, stage, "duration")
        if duration.endswith(("steps", "step")):
            headline = f"`steps` says {asserted:,}, and the duration is {duration}"
        else:
            trained, each = work.tokens_of(asserted), work.tokens_per_step
            product = f"{asserted:,} steps x {each:,} tokens is {_short(trained)}"
            if work.phases:
                product = f"{asserted:,} steps of batches that grow to {each:,} tokens are {_short(trained)}"
            headline = f"{product}, and the duration is {duration}"
        places = (At((*at, "steps"), f"{steps:,} follow"), At((*at, "duration")), At((*at, "global_batch_size")))
        yield Finding("SPC303", headline, places, help=f"use `steps: {steps}`, or leave it out: it follows")


def check_tokens_per_parameter(experiment: Experiment) -> Iterator[Finding]:
    """Pretraining on far fewer tokens than the same compute would spend best."""
    for stage, work in _training(experiment):
        if work.tokens is None or work.adapter is not None or stage.after:
            continue
        ratio = work.tokens / experiment.model.parameters
        if ratio < _FEW_TOKENS * COMPUTE_OPTIMAL:
            note = f"compute-optimal is near {COMPUTE_OPTIMAL:g} (Hoffmann et al. 2022, arXiv:2203.15556, table 3)"
            at = (At(("stages", stage.name, "duration")), At(("model",), of_key=True))
            headline = f"{work.tokens:,} tokens are {ratio:.2g} per parameter"
            yield Finding("SPC309", headline, at, (note,), severity="off")


def check_betas(experiment: Experiment) -> Iterator[Finding]:
    """A second moment that averages over more steps than there are, or over fewer than the first."""
    for stage, work in _training(experiment):
        for rule, at in _distinct(stage, work):
            if rule.optimizer.fields["kind"] not in _ADAM:
                continue
            first, beta = rule.optimizer.fields["betas"]
            if beta < first:
                yield Finding(
                    "SPC320",
                    f"beta {beta:g} of the second moment is below beta {first:g} of the first",
                    (At((*at, "betas", 1)), At((*at, "betas", 0))),
                    ("Adam is known to converge for beta1 < sqrt(beta2) (Zhang et al. 2022, arXiv:2208.09632)",),
                    help="use `betas: [0.9, 0.95]`",
                    severity="warning",
                )
                continue
            horizon = round(1 / (1 - beta))
            if work.steps is None or horizon <= max(work.steps, _LONG_AVERAGE):
                continue
            fitting = next((b for b in _BETAS if round(1 / (1 - b)) <= work.steps), None)
            yield Finding(
                "SPC310",
                f"beta {beta:g} averages over about {horizon:,} steps, and the stage has {work.steps:,}",
                (At((*at, "betas", 1)), At(("stages", stage.name, "duration"))),
                (f"1 / (1 - {beta:g}) = {horizon:,}",),
                help=None if fitting is None else f"use {fitting:g}: it averages over {round(1 / (1 - fitting)):,}",
                severity="warning",
            )


def check_rates(experiment: Experiment) -> Iterator[Finding]:
    """A learning rate of AdamW far above what a model of this size was ever trained with."""
    size = experiment.model.parameters
    known, rate = next(((count, rate) for count, rate in GPT3_RATES if size <= count), GPT3_RATES[-1])
    for stage, work in _training(experiment):
        if stage.after:
            # The table is of pretraining.
            continue
        for rule, at in _distinct(stage, work):
            peak = rule.optimizer.fields.get("learning_rate", 0.0)
            if rule.optimizer.fields.get("kind") in _ADAM and peak > _FAR_ABOVE * rate:
                source = "Brown et al. 2020, arXiv:2005.14165, table 2.1"
                yield Finding(
                    "SPC316",
                    f"a learning rate of {peak:g} is {peak / rate:,.0f} times GPT-3's for a model of this size",
                    (At((*at, "learning_rate")),),
                    (f"{_short(known)} parameters were trained at {_yaml(rate)} ({source})",),
                    help=f"use `learning_rate: {_yaml(rate)}`, and search upwards from there",
                    severity="warning",
                )


def check_cadences(experiment: Experiment) -> Iterator[Finding]:
    """Validation and reports that would come once, at the end."""
    for stage, work in _training(experiment):
        if work.steps is None:
            continue
        validation = work.options.get("validate_every")
        reports = work.options["log_every"]
        listed = (
            ("validation comes", validation, ("validation", "every"), "validation: {every: 5%}"),
            ("metrics are reported", reports if reports > _USUAL_LOG else None, ("log_every",), "log_every: 10 steps"),
        )
        for what, every, path, instead in listed:
            if every is not None and every > work.steps:
                at = (At(("stages", stage.name, *path)), At(("stages", stage.name, "duration")))
                headline = f"{what} every {every:,} steps, and the stage has {work.steps:,}"
                yield Finding("SPC315", headline, at, help=f"use `{instead}`", severity="warning")


def _training(experiment: Experiment) -> Iterator[tuple[Stage, Training]]:
    for stage in experiment.stages:
        if isinstance(stage.work, Training):
            yield stage, stage.work


def _distinct(stage: Stage, work: Training) -> Iterator[tuple[OptimizerRule, tuple[str | int, ...]]]:
    """The optimizer of the stage, and those that rules bring, each with its place."""
    seen: list[dict[str, object]] = []
    last = len(work.rules) - 1
    for index in (last, *range(last)) if work.rules else ():
        rule = work.rules[index]
        bare = {key: value for key, value in rule.optimizer.fields.items() if key != "weight_decay"}
        if bare in seen:
            continue
        seen.append(bare)
        place: tuple[str | int, ...] = () if index == last else ("rules", index, "optimizer")
        yield rule, ("stages", stage.name, "optimizer", *place)


def _written(experiment: Experiment, stage: Stage, key: str) -> str:
    """A setting of a stage as a person writes it."""
    path = f"stages.{stage.name}.{key}"
    return next((str(setting.value) for setting in experiment.settings if setting.path == path), "")


def _short(number: float) -> str:
    """Three digits and a letter: 5.24B."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:,.0f}"


def _yaml(number: float) -> str:
    """A number that YAML 1.2 reads as one: 6.0e-4."""
    digits, _, exponent = f"{number:.1e}".partition("e")
    return f"{digits}e{int(exponent)}"
