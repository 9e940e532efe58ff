"""Layouts that work and cost more than they need to, and those that this version only plans."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import gcd

from specc.diagnostics import At, Finding
from specc.ir import Layout, Plan, Stage, StagePlan, Training

# Huang et al. 2019, GPipe, arXiv:1811.06965, section 2.3: the bubble is negligible with four micro-batches a stage,
# (p - 1) / (4 p + p - 1), which stays below a fifth for every p.
_BUBBLE = Fraction(1, 5)


def check_layouts(plan: Plan) -> Iterator[Finding]:
    """Tensor parallelism across nodes, idle pipelines and keys that do nothing."""
    for stage, placed in _placed(plan):
        assert placed.layout is not None
        yield from _crossing(plan, stage, placed.layout)
        yield from _bubble(stage, placed.layout)
        yield from _without_effect(stage, placed.layout)


def check_emitted(plan: Plan) -> Iterator[Finding]:
    """Layouts that are planned and locked, and that no back-end of this version writes code for."""
    for stage, placed in _placed(plan):
        assert placed.layout is not None
        what = _not_emitted(placed.layout)
        if stage.lowered and what is not None:
            yield Finding(
                "SPC419",
                f"this version of specc plans {what} and emits no code for it",
                _written(stage),
                (f"`specc compile` and `specc run` refuse stage `{stage.name}`",),
                severity="note",
            )


def _not_emitted(layout: Layout) -> str | None:
    axes = (
        ("tensor", layout.tensor_parallel_size),
        ("pipeline", layout.pipeline_parallel_size),
        ("context", layout.context_parallel_size),
        ("expert", layout.expert_parallel_size),
    )
    used = [name for name, size in axes if size > 1]
    if used:
        return f"{' and '.join(used)} parallelism"
    if layout.engine == "xla":
        return "engine `xla`"
    if layout.engine == "torch" and layout.devices > 1:
        return f"engine `torch` on {layout.devices:,} devices"
    return None


def _written(stage: Stage) -> tuple[At, ...]:
    """What asks for the layout; else the stage."""
    assert isinstance(stage.work, Training)
    keys = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size", "expert_parallel_size")
    parallelism = ("stages", stage.name, "parallelism")
    at = [At((*parallelism, key)) for key in keys if (getattr(stage.work.requested, key) or 1) > 1]
    if not at and stage.work.requested.engine is not None:
        at = [At((*parallelism, "engine")), At(("cluster", "nodes"))]
    return tuple(at) or (At(("stages", stage.name)),)


def _crossing(plan: Plan, stage: Stage, layout: Layout) -> Iterator[Finding]:
    cluster, ranks = plan.cluster, layout.tensor_parallel_size
    if cluster.nodes == 1 or cluster.devices_per_node % ranks == 0:
        return
    inside = gcd(ranks, cluster.devices_per_node)
    yield Finding(
        "SPC405",
        f"{ranks} tensor-parallel ranks cross nodes of {cluster.devices_per_node} devices",
        (
            At(("stages", stage.name, "parallelism", "tensor_parallel_size")),
            At(("cluster", "devices_per_node")),
        ),
        (
            "every block sends its activations at least four times a step: "
            f"{_rate(cluster.intra_node_bandwidth)} inside a node, {_rate(cluster.inter_node_bandwidth)} between nodes",
        ),
        help=f"use `tensor_parallel_size: {inside}`",
        severity="warning",
    )


def _rate(bandwidth: float) -> str:
    return f"{bandwidth / 1e9:,.3g} GB/s"


def _bubble(stage: Stage, layout: Layout) -> Iterator[Finding]:
    """Share of the time that a stage waits: (p - 1) / (v m + p - 1) (Narayanan et al. 2021, section 2.2)."""
    stages, chunks, batches = (
        layout.pipeline_parallel_size,
        layout.pipeline_chunks,
        layout.gradient_accumulation_steps,
    )
    assert isinstance(stage.work, Training)
    if stage.work.requested.micro_batch_size is None:
        # Where the planner took larger micro-batches it weighed the bubble; what it cannot mend is a small batch.
        batches *= layout.micro_batch_size
    idle = _idle(stages, chunks, batches)
    if idle <= _BUBBLE:
        return
    at = ("stages", stage.name)
    through = f" x {chunks} chunks" if chunks > 1 else ""
    sum_ = f"({stages} - 1) / ({f'{chunks} x ' if chunks > 1 else ''}{batches} + {stages} - 1)"
    yield Finding(
        "SPC411",
        f"{batches} micro-batch{'es' if batches > 1 else ''} over {stages} stages{through} "
        f"leave{'s' if batches == 1 else ''} {float(idle):.0%} of the time idle",
        (
            At((*at, "parallelism", "pipeline_parallel_size"), sum_),
            At((*at, "global_batch_size")),
        ),
        ("about four micro-batches a stage make it small (Huang et al. 2019, arXiv:1811.06965, section 2.3)",),
        help=_less_idle(layout, batches),
        severity="warning",
    )


def _idle(stages: int, chunks: int, batches: int) -> Fraction:
    return Fraction(stages - 1, chunks * batches + stages - 1)


def _less_idle(layout: Layout, batches: int) -> str:
    """Smaller micro-batches, else a larger batch: the first that brings the bubble down."""
    per_rank = layout.micro_batch_size * layout.gradient_accumulation_steps
    stages, chunks, micro = layout.pipeline_parallel_size, layout.pipeline_chunks, per_rank // batches
    for smaller in range(micro - 1, 0, -1):
        if per_rank % smaller == 0 and _idle(stages, chunks, per_rank // smaller) <= _BUBBLE:
            return f"use `micro_batch_size: {smaller}`: {_percent(_idle(stages, chunks, per_rank // smaller))}"
    needed = next(count for count in range(batches, 10**6) if _idle(stages, chunks, count) <= _BUBBLE)
    return f"use a global batch of {needed * micro * layout.data_parallel_size:,} sequences, or fewer stages"


def _percent(share: Fraction) -> str:
    return f"{float(share):.0%}"


def _without_effect(stage: Stage, layout: Layout) -> Iterator[Finding]:
    """Keys that ask for something only another key can give."""
    assert isinstance(stage.work, Training)
    requested, at = stage.work.requested, ("stages", stage.name, "parallelism")
    if requested.sequence_parallel and layout.tensor_parallel_size == 1:
        yield _idle_key("sequence_parallel", "tensor-parallel ranks", (*at, "sequence_parallel"))
    if (requested.pipeline_chunks or 1) > 1 and layout.pipeline_parallel_size == 1:
        yield _idle_key("pipeline_chunks", "pipeline stages", (*at, "pipeline_chunks"))


def _idle_key(key: str, things: str, path: tuple[str, ...]) -> Finding:
    size = "tensor_parallel_size" if key == "sequence_parallel" else "pipeline_parallel_size"
    return Finding(
        "SPC420",
        f"`{key}` divides among {things}, and there is 1",
        (At(path),),
        help=f"leave it out, or write `{size}` as well",
        severity="warning",
    )


def _placed(plan: Plan) -> Iterator[tuple[Stage, StagePlan]]:
    for stage in plan.experiment.stages:
        placed = plan.stage(stage.name)
        if placed.layout is not None:
            yield stage, placed
