"""`train.py`: each decision of a pretraining stage as a literal."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from specc import ir
from specc.backends import deepspeed, lm_eval, templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice
from specc.ir.patterns import alike_ends, pattern, patterns
from specc.ir.placement import place

KIND = "pretrain"
OBJECTIVES = (
    "Masked",
    "MultiToken",
    "Prefix",
    "PrefixDenoiser",
    "SpanCorruption",
    "SpanDenoiser",
    "TokenLoss",
    "Ul2",
    "Ul2Decoder",
)
"""Names of `runners.objective` that a program may need."""
SPIKES = {"spike/skip": "Skip", "spike/rollback": "Rollback", "spike/stop": "Stop"}
"""Names of `runners.spikes`, by kind."""

AXES = ("pipeline", "replicate", "shard", "context", "tensor", "expert")
DIVIDED = (
    "nothing",
    "optimizer states",
    "optimizer states and gradients",
    "optimizer states, gradients and weights",
)
"""What ZeRO divides among ranks, by its stage."""
CURRICULUM = ("Curriculum", "Difficulty", "GrowingVocabulary", "LinearLength", "Phase", "SteppedLength")
"""Names of `runners.curriculum` that a program may need."""


@dataclass(frozen=True)
class Rule:
    """Weights by pattern, and the Python of the distribution that they are drawn from."""

    pattern: str
    draw: str


@dataclass(frozen=True)
class Line:
    """Weights by pattern, and the Python of their optimizer's settings."""

    pattern: str
    settings: str


def program(experiment: ir.Experiment, stage: ir.Stage) -> str:
    """`train.py`, or `train_STAGE.py` where an experiment pretrains more than once."""
    only = sum(other.kind == KIND for other in experiment.stages) == 1
    return "train.py" if only else f"train_{stage.name}.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One program a pretraining stage."""
    stages = [stage for stage in plan.experiment.stages if stage.kind == KIND]
    return tuple(_program(plan, stage) for stage in stages)


def rules(model: ir.Model) -> tuple[Rule, ...]:
    """Few patterns that give every weight its distribution: exceptions first, the most common one last."""
    return tuple(Rule(*found) for found in patterns({weight.name: _draw(weight.init) for weight in model.weights()}))


def stacked(model: ir.Model) -> tuple[str, ...]:
    """Ends of names that all tensors of stacked vectors have, and no matrix; none for most models."""
    found = {weight.name: weight.stacked for weight in model.weights() if len(weight.sizes) > 1}
    alike = alike_ends(found)
    ends = (pattern(name, alike).removeprefix("*") for name, of_vectors in found.items() if of_vectors)
    return tuple(dict.fromkeys(ends))


def _draw(init: ir.Initialisation) -> str:
    if init.distribution == "normal":
        return f"Normal({templates.python_literal(init.std)})"
    return {"ones": "Ones()", "zeros": "Zeros()"}[init.distribution]


def _program(plan: ir.Plan, stage: ir.Stage) -> Artifact:
    experiment, layout, work = plan.experiment, plan.stage(stage.name).layout, stage.work
    assert isinstance(work, ir.Training), f"{stage.name} does not train"
    assert layout is not None, f"{stage.name} has no layout"
    path = program(experiment, stage)
    values: dict[str, Any] = {
        **work.options,
        **_spread(experiment.model, layout, work.context_length),
        "title": experiment.name,
        "notice": notice(),
        "program": path,
        "start": _start(plan, layout, path),
        "stage": stage.name,
        "upstream": "".join(f" --from {base}=RUN_DIR" for base in stage.after),
        "engine": layout.engine,
        "engine_config": deepspeed.path(stage) if layout.engine == "deepspeed" else None,
        "seed": experiment.seed,
        "data": stage.data,
        "context_length": work.context_length,
        "steps": work.steps,
        "global_batch_size": work.global_batch_size,
        "precision": work.precision,
        "loss_scale": work.loss_scale,
        "max_grad_norm": work.max_grad_norm,
        "auxiliary_loss": experiment.model.regulation.auxiliary_loss,
        "dropout": experiment.model.has_dropout,
        "after_step": experiment.model.regulation.after_step,
        "initialisation": rules(experiment.model),
        "optimizer": _optimizer(work, experiment.model, layout.engine),
        "schedule": _rendered(work.schedule),
        "has_cache": plan.experiment.model.family != "encoder",
        **_choices(work),
    }
    return Artifact(path, templates.render("train/train.py.j2", values))


def _start(plan: ir.Plan, layout: ir.Layout, path: str) -> str:
    """What starts a program; XLA has one process a machine, which sees all of its devices."""
    if plan.cluster.nodes > 1:
        return f"{path} of {layout.devices} processes, which submit.py queues:"
    several = layout.engine != "xla" and layout.devices > 1
    return f"python -m runners.processes {layout.devices} {path}" if several else f"python {path}"


def _choices(work: ir.Training) -> dict[str, Any]:
    """What a program says of its data, its objective and its watching, where that is not as usual."""
    objective, token_loss = _said(work.objective), _token_loss(work)
    curriculum = _said(work.curriculum)
    return {
        "evaluation": _scored(work),
        "on_spike": _said(work.on_spike),
        "spike_name": SPIKES.get("" if work.on_spike is None else work.on_spike.kind),
        "objective": objective,
        "token_loss": token_loss,
        "objective_names": ", ".join(name for name in OBJECTIVES if f"{name}(" in f"{objective}{token_loss}"),
        "batch_sizes": work.phases,
        "curriculum": curriculum,
        "curriculum_names": ", ".join(name for name in CURRICULUM if f"{name}(" in curriculum),
        "packing": None if work.options["packing"] == "concatenate" else work.options["packing"],
    }


def _spread(model: ir.Model, layout: ir.Layout, context_length: int) -> dict[str, Any]:
    """How a step is spread over devices and time."""
    return {
        "micro_batch_size": layout.micro_batch_size,
        "gradient_accumulation_steps": layout.gradient_accumulation_steps,
        "activation_checkpointing": layout.activation_checkpointing,
        "compile": layout.compile,
        "layout": _layout(model, layout, context_length) if layout.devices > 1 else None,
    }


def _layout(model: ir.Model, layout: ir.Layout, context_length: int) -> str:
    """What each rank holds; axes of one rank and what is as usual go without saying."""
    placed = place(model, layout, context_length)
    values = {each.name: getattr(placed, each.name) for each in fields(placed)}
    values |= {axis: None for axis in AXES if values[axis] == 1}
    values["context_kind"] = None if placed.context_kind == "ulysses" else placed.context_kind
    return templates.render(
        "train/layout.py.j2", {**values, "devices": layout.devices, "divided": DIVIDED[placed.zero_stage]}
    )


def _optimizer(work: ir.Training, model: ir.Model, engine: str) -> str:
    """One optimizer for all weights as a function; rules and rates of their own (muP) as a table."""
    if model.has_own_rates:
        (rule,) = work.rules
        rates = patterns({weight.name: weight.init.rate for weight in model.weights()})
        own = (replace(rule, match=match, learning_rate_scale=rate) for match, rate in rates)
        lines = tuple(Line(rule.match, _settings(rule)) for rule in own)
        return templates.render("train/optimizer/rules.py.j2", {"rules": lines, "stacked": stacked(model)})
    if len(work.rules) == 1 and work.optimizer.template is not None:
        # XLA compiles the step of the optimizer itself, and PyTorch has no fused one for it.
        values = {**work.optimizer.values, "stacked": stacked(model), "fused": engine != "xla"}
        return templates.render(work.optimizer.template, values)
    *written, rest = work.rules
    left = [weight for weight in model.weights() if not any(rule.takes(weight.name) for rule in written)]
    lines = tuple(Line(rule.match, _settings(rule)) for rule in (*written, *([rest] if left else [])))
    return templates.render("train/optimizer/rules.py.j2", {"rules": lines, "stacked": stacked(model)})


def _settings(rule: ir.OptimizerRule) -> str:
    values = rule.optimizer.values
    scale = None if rule.learning_rate_scale == 1.0 else rule.learning_rate_scale
    return templates.render(values["rule_template"], {**values, "scale": scale})


def _scored(work: ir.Training) -> dict[str, Any] | None:
    """What is scored on the way, as paths of suites and names of data sets."""
    scored = work.evaluation
    if scored is None:
        return None
    return {
        "suites": tuple(lm_eval.path(suite) for suite in scored.suites),
        "data": lm_eval.data(scored),
        "every": work.evaluate_every,
        "limit": scored.limit,
        "batch_size": scored.batch_size,
    }


def _said(part: ir.Component | None) -> str:
    """The lines of a choice; nothing for what goes without saying."""
    return "" if part is None or part.template is None else _rendered(part).rstrip("\n")


def _token_loss(work: ir.Training) -> str:
    """What is added to the cross-entropy, and how much of it exists at a time; nothing where it is the plain one."""
    values = {"z_loss": work.options["z_loss"], "label_smoothing": work.options["label_smoothing"]}
    given = [(name, value) for name, value in (*values.items(), ("chunk", work.loss_chunk)) if value]
    glued = [(", " if index else "", *pair) for index, pair in enumerate(given)]
    return templates.render("train/token_loss.py.j2", {"given": glued}) if given else ""


def _rendered(component: ir.Component) -> str:
    assert component.template is not None, f"{component.kind} renders nothing"
    return templates.render(component.template, component.values)
