"""Micro-batches that a schedule of pipeline stages can run, as PyTorch's classes ask for them."""

from __future__ import annotations

from specc.diagnostics import At, Finding
from specc.ir.experiment import Stage, Training
from specc.planning.asked import Asked
from specc.planning.batch import Split


def runs(engine: str, schedule: str, stages: int, micro_batches: int) -> bool:
    """Whether so many micro-batches a step go through the stages.

    `1f1b` needs one a stage. `interleaved_1f1b` goes in rounds of about one a stage, all alike
    (torch.distributed.pipelining, schedules.py). DeepSpeed's schedule and `gpipe` take any number.
    """
    if stages == 1 or engine != "torch" or schedule == "gpipe":
        return True
    if schedule == "1f1b":
        return micro_batches >= stages
    return micro_batches % max(1, micro_batches // stages) == 0


def unrun(stage: Stage, training: Training, asked: Asked, splits: tuple[Split, ...], schedule: str) -> Finding:
    """The finding for a batch whose every split is one that the schedule cannot run."""
    most, pipeline = max(steps for _, steps in splits), asked.mesh.pipeline
    at, parallelism = ("stages", stage.name), ("stages", stage.name, "parallelism")
    written = ("pipeline_schedule", "micro_batch_size", "gradient_accumulation_steps")
    places = [At((*parallelism, key)) for key in written if getattr(training.requested, key) is not None]
    count = f"{most:,} micro-batch{'es' if most > 1 else ''}"
    needed = pipeline * asked.mesh.data * (training.requested.micro_batch_size or 1)
    rounds = "do not go through" if most > 1 else "does not go through"
    return Finding(
        "SPC434",
        f"{count} a step {rounds} {pipeline} pipeline stages by the schedule `{schedule}`",
        (At((*parallelism, "pipeline_parallel_size")), At((*at, "global_batch_size")), *places),
        ("`1f1b` needs a micro-batch a stage, `interleaved_1f1b` rounds of equal length",),
        help=f"use a global batch of {needed:,} sequences"
        + ("" if schedule == "interleaved_1f1b" else ", or `pipeline_schedule: gpipe`"),
    )
