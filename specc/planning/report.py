"""A plan as JSON for tools and as a table for people. docs/planner.md documents the keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from specc.ir.model import Model
from specc.ir.plan import Plan, StagePlan
from specc.planning.memory import allowances
from specc.planning.text import count, duration, gib, layout_words, mesh_words

SCHEMA = 1
"""Version of the JSON; it rises when a key changes its meaning or goes."""
WIDTH = 80


def to_json(plan: Plan) -> dict[str, Any]:
    """The whole plan in plain values; names end in their unit where there is one."""
    cluster = plan.cluster
    return {
        "schema": SCHEMA,
        "experiment": plan.experiment.name,
        "model": {
            "parameters": _parameters(plan.experiment.model),
            "context_length": plan.experiment.model.context_length,
            "forward_flops_per_token": plan.experiment.model.forward_flops_per_token(
                plan.experiment.model.context_length
            ),
        },
        "cluster": {
            "name": cluster.name,
            "device": cluster.device.name,
            "nodes": cluster.nodes,
            "devices_per_node": cluster.devices_per_node,
            "devices": cluster.devices,
            "price_per_device_hour": cluster.price_per_device_hour,
        },
        "stages": {stage.stage: _stage(plan, stage) for stage in plan.stages},
    }


def predictions(stage: StagePlan, parameters: int | None = None) -> dict[str, float | None]:
    """What measurements are held against; nothing for a stage that was not placed.

    A stage plan does not know its model's `parameters`, so they are given.
    """
    if stage.layout is None:
        return {}
    per_second = None
    if stage.duration_s and stage.tokens is not None:
        per_second = stage.tokens / stage.duration_s
    return {
        "step_time_s": stage.step_time_s,
        "tokens_per_second": per_second,
        "duration_s": stage.duration_s,
        "memory_bytes": stage.memory.total if stage.memory else None,
        "checkpoint_bytes": stage.checkpoint_bytes,
        "parameters": parameters,
        "cost_usd": stage.cost_usd,
    }


def render(plan: Plan, width: int = WIDTH) -> str:
    """The plan as text that a person reads, `width` columns wide."""
    from rich.console import Console

    console = Console(width=width, color_system=None, highlight=False, force_terminal=False)
    with console.capture() as capture:
        parameters = _parameters(plan.experiment.model)
        console.print(f"{plan.experiment.name} on {plan.cluster.devices:,} x {plan.cluster.device.title}")
        total, active, embedding = (count(parameters[name]) for name in ("total", "active", "embedding"))
        used = "" if active == total else f"{active} of them active for a token, "
        console.print(f"{total} parameters, {used}{embedding} of them embedding")
        for stage in plan.stages:
            _print_stage(console, stage)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _parameters(model: Model) -> dict[str, int]:
    return {
        "total": model.parameters,
        "active": model.active_parameters,
        "embedding": model.embedding_parameters,
    }


def _stage(plan: Plan, stage: StagePlan) -> dict[str, Any]:
    return {
        "steps": stage.steps,
        "tokens": stage.tokens,
        "flops": stage.flops,
        "layout": asdict(stage.layout) if stage.layout else None,
        "memory": _memory(plan, stage),
        "step_time_s": stage.step_time_s,
        "step_time_by_cause_s": dict(stage.step_time_by_cause),
        "tokens_per_second": predictions(stage).get("tokens_per_second"),
        "duration_s": stage.duration_s,
        "cost": stage.cost_usd,
        "energy_kwh": stage.energy_kwh,
        "mfu": stage.mfu,
        "checkpoint_bytes": stage.checkpoint_bytes,
        "rejected": [{"layout": asdict(other.layout), "reason": other.reason} for other in stage.rejected],
        "notes": list(stage.notes),
    }


def _memory(plan: Plan, stage: StagePlan) -> dict[str, Any] | None:
    if stage.memory is None:
        return None
    ranks = stage.layout.devices if stage.layout else 1
    return {
        "total_bytes": stage.memory.total,
        "limit_bytes": stage.memory_limit_bytes,
        "by_cause": dict(stage.memory.by_cause),
        "device_bytes": plan.cluster.device.memory_bytes,
        "allowances": dict(allowances(plan.cluster.device, ranks)),
    }


def _print_stage(console: Any, stage: StagePlan) -> None:
    from rich.table import Table

    console.print()
    console.rule(stage.stage, align="left", characters="-")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(stage):
        table.add_row(name, value)
    console.print(table)


def _facts(stage: StagePlan) -> list[tuple[str, str]]:
    """Rows of the table; what is not known is left out, and the notes say why."""
    rows: list[tuple[str, str | None]] = [
        ("steps", None if stage.steps is None else f"{stage.steps:,}"),
        ("tokens", None if stage.tokens is None else count(stage.tokens)),
        ("model FLOPs", None if stage.flops is None else f"{stage.flops:.3g}"),
        ("layout", _layout(stage)),
        ("memory", _total(stage)),
        *((f"  {cause}", gib(size)) for cause, size in (stage.memory.by_cause if stage.memory else ())),
        ("step time", _step(stage)),
        *((f"  {cause}", duration(seconds)) for cause, seconds in stage.step_time_by_cause),
        ("duration", None if stage.duration_s is None else duration(stage.duration_s)),
        ("cost", None if stage.cost_usd is None else f"${stage.cost_usd:,.0f}"),
        ("energy", None if stage.energy_kwh is None else f"{stage.energy_kwh:,.1f} kWh"),
        ("checkpoint", None if stage.checkpoint_bytes is None else gib(stage.checkpoint_bytes)),
        *(("rejected", _rejected(other.reason, layout_words(other.layout))) for other in stage.rejected),
        *(("note", note) for note in stage.notes),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _rejected(reason: str, layout: str) -> str:
    return reason if reason.startswith(layout) else f"{layout}: {reason}"


def _layout(stage: StagePlan) -> str | None:
    layout = stage.layout
    if layout is None:
        return None
    product = f"{layout.micro_batch_size} x {layout.gradient_accumulation_steps} x {layout.data_parallel_size:,}"
    mesh = f"; {mesh_words(layout)}" if layout.is_mesh or layout.data_parallel_replicas > 1 else ""
    return f"{layout_words(layout)}{mesh}; batch {product} sequences"


def _total(stage: StagePlan) -> str | None:
    if stage.memory is None:
        return None
    return f"{gib(stage.memory.total)} of {gib(stage.memory_limit_bytes or 0)} on the fullest device"


def _step(stage: StagePlan) -> str | None:
    if stage.step_time_s is None:
        return None
    share = "" if stage.mfu is None else f", MFU {stage.mfu:.1%}"
    return f"{duration(stage.step_time_s)}{share}"
