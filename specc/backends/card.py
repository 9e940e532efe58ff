"""`README.md`: the numbers of an experiment on one page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from specc import ir
from specc.backends import deepspeed, templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice
from specc.backends.programs import program
from specc.ir.modeling import unwritten

PATH = "README.md"
_GIB = 2**30


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    value: str


@dataclass(frozen=True)
class Section:
    """A stage with what is known of it."""

    name: str
    kind: str
    rows: tuple[Row, ...]
    memory: tuple[Row, ...]
    notes: tuple[str, ...]


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One page."""
    experiment, model = plan.experiment, plan.experiment.model
    description = next((s.value for s in experiment.settings if s.path == "description"), "")
    values = {
        "title": experiment.name,
        "description": description,
        "notice": notice(),
        "cluster": f"{plan.cluster.nodes} x {plan.cluster.devices_per_node} {plan.cluster.device.title}",
        "model": tuple(_model(model, experiment.tokenizer)),
        "stages": tuple(_section(plan, stage) for stage in experiment.stages),
        "slurm": bool(plan.cluster.slurm),
        "configurations": tuple(artifact.path for artifact in deepspeed.emit(plan)),
        "modeling": unwritten(model) is None,
        "suites": any(isinstance(stage.work, ir.Evaluation) for stage in experiment.stages),
        "programs": tuple((stage.name, program(experiment, stage)) for stage in experiment.stages if stage.lowered),
    }
    return (Artifact(PATH, templates.render("card/card.md.j2", values)),)


def _model(model: ir.Model, tokenizer: ir.Tokenizer) -> Iterator[Row]:
    yield Row("kind", model.family)
    yield Row("parameters", f"{model.parameters:,}")
    yield Row("active parameters", f"{model.active_parameters:,}")
    yield Row("embedding parameters", f"{model.embedding_parameters:,}")
    stacks = (model.encoder, model) if model.encoder is not None else (model,)
    layers = " + ".join(str(sum(layer.count for layer in stack.layers)) for stack in stacks)
    yield Row("layers x width", f"{layers} x {model.hidden_size:,}")
    yield Row("context", f"{model.context_length:,} tokens")
    yield Row("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} ids in {model.vocab_size:,} rows")
    yield Row("forward FLOPs", f"{model.forward_flops_per_token(model.context_length):,} per token at full context")
    yield Row("key/value cache", f"{model.kv_cache_values_per_token:,} values per token")


def _section(plan: ir.Plan, stage: ir.Stage) -> Section:
    placed = plan.stage(stage.name)
    rows = tuple(row for row in _rows(plan, stage, placed) if row is not None)
    return Section(stage.name, stage.kind, rows, tuple(_memory(placed)), placed.notes)


def _rows(plan: ir.Plan, stage: ir.Stage, placed: ir.StagePlan) -> Iterator[Row | None]:
    layout = placed.layout
    yield _row("after", ", ".join(stage.after))
    objective = stage.work.objective if isinstance(stage.work, ir.Training) else None
    # What every decoder predicts goes without saying.
    predicted = None if objective is None else objective.kind.removeprefix("objective/")
    yield _row("objective", None if predicted == "causal" else predicted)
    yield _row("layout", None if layout is None else _layout(layout))
    yield _row("steps", None if placed.steps is None else f"{placed.steps:,}")
    if placed.tokens is not None:
        per_parameter = placed.tokens / plan.experiment.model.parameters
        yield Row("tokens", f"{placed.tokens:,} ({per_parameter:,.3g} per parameter)")
    yield _row("model FLOPs", None if placed.flops is None else f"{placed.flops:.3e}")
    if placed.step_time_s is not None and placed.mfu is not None:
        yield Row("step time", f"{placed.step_time_s:,.3g} s (MFU {placed.mfu:.1%})")
    yield _row("duration", None if placed.duration_s is None else _duration(placed.duration_s))
    yield _row("cost", None if placed.cost_usd is None else f"${placed.cost_usd:,.0f}")
    yield _row("energy", None if placed.energy_kwh is None else f"{placed.energy_kwh:,.3g} kWh")


def _row(name: str, value: str | None) -> Row | None:
    return Row(name, value) if value else None


def _layout(layout: ir.Layout) -> str:
    zero = f" ZeRO-{layout.zero_stage}" if layout.zero_stage else ""
    zero += f" in groups of {layout.sharding_size}" if layout.data_parallel_replicas > 1 else ""
    batch = (layout.micro_batch_size, layout.gradient_accumulation_steps, layout.data_parallel_size)
    product = f"{batch[0]} x {batch[1]} x {batch[2]} sequences (micro-batch x accumulation x data-parallel)"
    mesh = "" if not layout.is_mesh else f", {_mesh(layout)}"
    compiled = ", compiled" if layout.compile else ""
    return (
        f"{layout.engine}{zero}{mesh}, {layout.activation_checkpointing} activation checkpointing{compiled}, {product}"
    )


def _mesh(layout: ir.Layout) -> str:
    axes = (
        ("tensor", layout.tensor_parallel_size),
        ("pipeline", layout.pipeline_parallel_size),
        ("context", layout.context_parallel_size),
        ("expert", layout.expert_parallel_size),
    )
    return " x ".join(f"{axis} parallel {size}" for axis, size in axes if size > 1)


def _duration(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "minutes", 60), (172_800, "hours", 3600)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:,.1f} days"


def _memory(placed: ir.StagePlan) -> Iterator[Row]:
    if placed.memory is None:
        return
    for cause, size in placed.memory.by_cause:
        yield Row(cause, _size(size))
    limit = placed.memory_limit_bytes
    offered = "" if limit is None else f" of {_size(limit)}"
    yield Row("**total**", f"**{_size(placed.memory.total)}**{offered}")


def _size(size: int) -> str:
    return f"{size / _GIB:,.2f} GiB" if size >= _GIB / 10 else f"{size / 2**20:,.2f} MiB"
