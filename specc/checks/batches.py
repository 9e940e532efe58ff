"""Batches that grow at the beginning of a stage, held against its length and its layout."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.ir import Experiment, Layout, Plan, Stage, Training


def check_growth(experiment: Experiment) -> Iterator[Finding]:
    """Batches that are still growing when the stage ends."""
    for stage in experiment.stages:
        work = stage.work
        if not isinstance(work, Training) or work.steps is None or not work.phases:
            continue
        growing = sum(steps for steps, _ in work.phases)
        if growing >= work.steps:
            at = ("stages", stage.name)
            yield Finding(
                "SPC344",
                f"batches grow for {growing:,} steps, and the stage has {work.steps:,}",
                (At((*at, "batch_size_schedule", "duration")), At((*at, "duration"))),
                ("no step sees the global batch",),
                help=f"use `batch_size_schedule: {{duration: {max(1, work.steps // 10)} steps}}`, or a longer stage",
            )


def check_divided_growth(plan: Plan) -> Iterator[Finding]:
    """Smaller batches that cannot be divided as the global one is."""
    for stage, placed in zip(plan.experiment.stages, plan.stages, strict=True):
        if isinstance(stage.work, Training) and stage.work.phases and placed.layout is not None:
            yield from _divided(stage, stage.work, placed.layout)


def _divided(stage: Stage, work: Training, layout: Layout) -> Iterator[Finding]:
    at = ("stages", stage.name)
    schedule = At((*at, "batch_size_schedule"), of_key=True)
    unit = layout.data_parallel_size * layout.micro_batch_size
    wrong = next((size for _, size in work.phases if size % unit), None)
    if wrong is not None:
        ranks = layout.data_parallel_size
        parts = f"micro-batches of {layout.micro_batch_size:,} on {ranks:,} rank{'s' * (ranks > 1)}"
        places = (schedule, At((*at, "parallelism", "micro_batch_size")))
        yield Finding(
            "SPC346",
            f"a batch of {wrong:,} sequences on its way to {work.global_batch_size:,} does not divide among {parts}",
            places,
            (f"{wrong:,} / {unit:,} leaves {wrong % unit:,}",),
            help=f"begin with a multiple of {unit:,} sequences and grow by one, or use smaller micro-batches",
        )
