"""Lengths that do not fit each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.ir import Experiment, Stage, Training

# Muennighoff et al. 2023, arXiv:2305.16264: up to about four passes cost little.
_PASSES_THAT_COST_LITTLE = 4.0


def check_warmup(experiment: Experiment) -> Iterator[Finding]:
    """A warm-up that is longer than the stage, alone or together with the decay at the end."""
    for stage, work in _training(experiment):
        warmup, decay, steps = work.warmup_steps, work.decay_steps, work.steps
        if steps is None:
            continue
        at = ("stages", stage.name)
        duration = At((*at, "duration"))
        if warmup >= steps:
            share = "1%" if math.ceil(steps / 100) < steps else "0%"
            headline = f"a warm-up of {warmup:,} steps does not end within the {steps:,} steps of the stage"
            places = (At((*at, "schedule", "warmup")), duration)
            yield Finding("SPC302", headline, places, help=f"use `warmup: {share}`")
        elif warmup + decay > steps:
            yield Finding(
                "SPC302",
                f"a warm-up of {warmup:,} steps and a decay of {decay:,} are longer than the stage of {steps:,}",
                (
                    At((*at, "schedule", "decay"), f"{warmup:,} + {decay:,} = {warmup + decay:,}"),
                    At((*at, "schedule", "warmup")),
                    duration,
                ),
                help=f"use `decay: {_at_most(steps - warmup, steps)}`",
            )


def _at_most(left: int, steps: int) -> str:
    """A usual decay where it fits into what is left, else all of that."""
    return "10%" if math.ceil(steps / 10) <= left else f"{left} step{'s' if left > 1 else ''}"


def check_checkpoints(experiment: Experiment) -> Iterator[Finding]:
    """A distance between checkpoints that is longer than the stage: a stop in between loses everything."""
    for stage, work in _training(experiment):
        every = work.options["checkpoint_every"]
        if work.steps is not None and every is not None and every > work.steps:
            at = ("stages", stage.name)
            yield Finding(
                "SPC308",
                f"checkpoints come every {every:,} steps, and the stage has {work.steps:,}",
                (At((*at, "checkpoint", "every")), At((*at, "duration"))),
                ("only the last state is written, and a stop before it loses the whole stage",),
                help="use `checkpoint: {every: 10%}`",
                severity="warning",
            )


def check_kept_checkpoints(experiment: Experiment) -> Iterator[Finding]:
    """Checkpoints that are to stay for good, more often than there are any or less often than the stage is long."""
    for stage, work in _training(experiment):
        kept, every = work.options.get("keep_checkpoint_every"), work.options["checkpoint_every"]
        section = ("stages", stage.name, "checkpoint")
        if kept is not None and every is not None and kept < every:
            yield Finding(
                "SPC330",
                f"a checkpoint of each {kept:,} steps is to be kept, and they come every {every:,} steps",
                (At((*section, "keep_every")), At((*section, "every"))),
                ("every checkpoint is kept then, and none is more often written",),
                help=f"use `keep_every: {every} steps`, or write checkpoints more often",
                severity="warning",
            )
        elif kept is not None and work.steps is not None and kept > work.steps:
            yield Finding(
                "SPC331",
                f"a checkpoint of each {kept:,} steps is to be kept, and the stage has {work.steps:,}",
                (At((*section, "keep_every")), At(("stages", stage.name, "duration"))),
                ("none is kept beside the last ones",),
                help="leave `keep_every` out, or use `keep_every: 50%`",
                severity="warning",
            )


def check_repetition(experiment: Experiment) -> Iterator[Finding]:
    """More passes over the data than are worth their price."""
    for stage, work in _training(experiment):
        if "prompt_length" in work.options:
            # Most of the tokens are new completions of the prompts, and no data.
            continue
        size = experiment.dataset(stage.data).tokens if stage.data is not None else None
        if size is None or work.tokens is None or work.tokens / size <= _PASSES_THAT_COST_LITTLE:
            continue
        yield Finding(
            "SPC203",
            f"{work.tokens:,} tokens from {size:,} is {work.tokens / size:.1f} passes over `{stage.data}`",
            (At(("stages", stage.name, "duration")), At(("data", str(stage.data), "tokens"))),
            ("up to about 4 passes cost little (Muennighoff et al. 2023, arXiv:2305.16264)",),
            severity="warning",
        )


def _training(experiment: Experiment) -> Iterator[tuple[Stage, Training]]:
    for stage in experiment.stages:
        if isinstance(stage.work, Training):
            yield stage, stage.work
