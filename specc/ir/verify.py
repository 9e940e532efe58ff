"""What every pass and the planner must keep true. A breach is a bug in specc, never a mistake of the user."""

from __future__ import annotations

from specc.ir.experiment import Experiment, Training
from specc.ir.model import check_model
from specc.ir.plan import Plan


class BrokenIrError(Exception):
    """An invariant that does not hold; the message names the pass after which it broke."""


def verify(value: Experiment | Plan, after: str, before: Experiment | None = None) -> None:
    """Check an experiment or a plan; BrokenIrError names `after`. What it shares with `before` was checked then."""
    try:
        if isinstance(value, Plan):
            check_plan(value)
        else:
            check_experiment(value, before)
    except AssertionError as error:
        raise BrokenIrError(f"`{after}` broke the IR: {error}") from error


def check_experiment(experiment: Experiment, before: Experiment | None = None) -> None:
    """Assert unique names, references that lead somewhere, and a sound model."""
    if before is None or experiment.model is not before.model:
        check_model(experiment.model)
    stages = [stage.name for stage in experiment.stages]
    data = [dataset.name for dataset in experiment.data]
    paths = [setting.path for setting in experiment.settings]
    for what, names in (("stages", stages), ("data sets", data), ("settings", paths)):
        assert len(names) == len(set(names)), f"two {what} share a name"
    for stage in experiment.stages:
        assert set(stage.after) <= set(stages), f"stage {stage.name} comes after a stage that is not there"
        assert stage.data is None or stage.data in data, f"stage {stage.name} reads data that is not there"
        assert stage.key, f"stage {stage.name} has no key"


def check_plan(plan: Plan) -> None:
    """Assert one plan a stage, in order, and that every layout makes up the global batch."""
    planned = [stage.stage for stage in plan.stages]
    assert planned == [stage.name for stage in plan.experiment.stages], "the plan has other stages than the experiment"
    for stage, placed in zip(plan.experiment.stages, plan.stages, strict=True):
        layout = placed.layout
        if layout is None or not isinstance(stage.work, Training):
            continue
        batch = layout.micro_batch_size * layout.gradient_accumulation_steps * layout.data_parallel_size
        wanted = stage.work.global_batch_size
        assert batch == wanted, f"the layout of stage {stage.name} makes {batch} sequences, not {wanted}"
