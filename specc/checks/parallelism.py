"""Layouts that work and cost more than they need to, and those that this version only plans."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from specc.diagnostics import At, Finding
from specc.ir import Layout, Plan, Stage, StagePlan, Training


def check_layouts(plan: Plan) -> Iterator[Finding]:
    """Tensor parallelism across nodes and keys that do nothing."""
    for stage, placed in _placed(plan):
        assert placed.layout is not None
        yield from _crossing(plan, stage, placed.layout)
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
                _written(stage, plan),
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


def _written(stage: Stage, plan: Plan) -> tuple[At, ...]:
    """What asks for the layout; else the stage."""
    assert isinstance(stage.work, Training)
    keys = ("tensor_parallel_size", "pipeline_parallel_size", "context_parallel_size", "expert_parallel_size")
    parallelism = ("stages", stage.name, "parallelism")
    at = [At((*parallelism, key)) for key in keys if (getattr(stage.work.requested, key) or 1) > 1]
    if not at and stage.work.requested.engine is not None:
        at = [At((*parallelism, "engine")), *(At(("cluster", key)) for key in plan.cluster.size_keys)]
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
