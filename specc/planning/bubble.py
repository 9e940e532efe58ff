"""Pipelines that wait: how long, and what would make it short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

from specc.diagnostics import At, Finding
from specc.ir.experiment import Requested, Stage, Training
from specc.ir.plan import Layout
from specc.planning.batch import divisors

# Huang et al. 2019, GPipe, arXiv:1811.06965, section 2.3: the bubble is negligible with four micro-batches a stage,
# (p - 1) / (4 p + p - 1), which stays below a fifth for every p.
_BUBBLE = Fraction(1, 5)

Works = Callable[[Requested], Layout | None]
"""The layout that a request would get; None where it would get none."""


def idle_pipeline(stage: Stage, layout: Layout, layers: int, works: Works) -> Iterator[Finding]:
    """Share of the time that a stage waits: (p - 1) / (v m + p - 1) (Narayanan et al. 2021, section 2.2)."""
    assert isinstance(stage.work, Training)
    stages, chunks, requested = layout.pipeline_parallel_size, layout.pipeline_chunks, stage.work.requested
    batches = _batches(layout, requested)
    if _idle(stages, chunks, batches) <= _BUBBLE:
        return
    at = ("stages", stage.name)
    through = f" x {chunks} chunks" if chunks > 1 else ""
    sum_ = f"({stages} - 1) / ({f'{chunks} x ' if chunks > 1 else ''}{batches} + {stages} - 1)"
    yield Finding(
        "SPC411",
        f"{batches} micro-batch{'es' if batches > 1 else ''} over {stages} stages{through} "
        f"leave{'s' if batches == 1 else ''} {float(_idle(stages, chunks, batches)):.0%} of the time idle",
        (
            At((*at, "parallelism", "pipeline_parallel_size"), sum_),
            At((*at, "global_batch_size")),
        ),
        ("about four micro-batches a stage make it small (Huang et al. 2019, arXiv:1811.06965, section 2.3)",),
        help=_less_idle(layout, requested, layers, works),
        severity="warning",
    )


def _batches(layout: Layout, requested: Requested) -> int:
    """Where the planner took larger micro-batches it weighed the bubble; what it cannot mend is a small batch."""
    larger = layout.micro_batch_size if requested.micro_batch_size is None else 1
    return layout.gradient_accumulation_steps * larger


def _idle(stages: int, chunks: int, batches: int) -> Fraction:
    return Fraction(stages - 1, chunks * batches + stages - 1)


def _less_idle(layout: Layout, requested: Requested, layers: int, works: Works) -> str:
    """Smaller micro-batches, else chunks, else a larger batch: the first that brings the bubble down."""
    changes = (*_smaller_batches(layout, requested), *_chunks(layout, requested, layers))
    for text, changed in changes:
        placed = works(changed)
        if placed is not None:
            idle = _idle(placed.pipeline_parallel_size, placed.pipeline_chunks, _batches(placed, changed))
            if idle <= _BUBBLE:
                return f"use {text}: {float(idle):.0%}"
    stages, batches = layout.pipeline_parallel_size, _batches(layout, requested)
    needed = next(count for count in range(batches, 10**6) if _idle(stages, layout.pipeline_chunks, count) <= _BUBBLE)
    micro = requested.micro_batch_size or 1
    return f"use a global batch of {needed * micro * layout.data_parallel_size:,} sequences, or fewer stages"


def _smaller_batches(layout: Layout, requested: Requested) -> Iterator[tuple[str, Requested]]:
    if requested.micro_batch_size is None:
        return
    per_rank = layout.micro_batch_size * layout.gradient_accumulation_steps
    for micro in reversed(divisors(per_rank)):
        if micro < layout.micro_batch_size:
            yield f"`micro_batch_size: {micro}`", replace(requested, micro_batch_size=micro)


def _chunks(layout: Layout, requested: Requested, layers: int) -> Iterator[tuple[str, Requested]]:
    stages, engine = layout.pipeline_parallel_size, requested.engine
    if layers % stages:
        return
    torch = replace(requested, engine="torch")
    for chunks in divisors(layers // stages):
        if chunks > layout.pipeline_chunks:
            yield f"`pipeline_chunks: {chunks}`", replace(requested, pipeline_chunks=chunks)
            if engine == "deepspeed":
                yield f"`engine: torch` and `pipeline_chunks: {chunks}`", replace(torch, pipeline_chunks=chunks)
