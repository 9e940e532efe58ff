"""Adapters that would train nothing."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.diagnostics.near import nearest
from specc.ir import Component, Experiment, Training


def check_targets(experiment: Experiment) -> Iterator[Finding]:
    """A target that is the name of no projection, and a rank above that of its matrices."""
    modules = {
        f"{prefix}{weight.name}".split(".")[-2]
        for _, prefix, component in experiment.model.counted()
        for weight in component.weights
        if len(weight.sizes) == 2
    }
    for stage in experiment.stages:
        if not isinstance(stage.work, Training) or stage.work.adapter is None:
            continue
        yield from _rank(stage.name, stage.work.adapter)
        written = any(setting.path == f"stages.{stage.name}.adapter.targets" for setting in experiment.settings)
        for index, target in enumerate(stage.work.adapter.fields["targets"]):
            if target in modules or not written:
                continue
            near = nearest(target, modules)
            listed = ", ".join(f"`{name}`" for name in sorted(modules))
            help_text = f"did you mean `{near}`?" if near else f"the model has {listed}"
            at = (At(("stages", stage.name, "adapter", "targets", index)),)
            yield Finding("SPC505", f"LoRA target `{target}` matches no weight", at, help=help_text)


def _rank(stage: str, adapter: Component) -> Iterator[Finding]:
    """A product of two matrices that says no more than one of full rank would."""
    rank = adapter.fields["rank"]
    sizes = [(size, weight.name) for weight in adapter.weights for size in weight.sizes if size < rank]
    if sizes:
        least, name = min(sizes)
        target = name.split(".")[-3]
        yield Finding(
            "SPC517",
            f"a LoRA rank of {rank:,} is above the {least:,} that a `{target}` can have",
            (At(("stages", stage, "adapter", "rank")),),
            (f"one side of `{target}` is {least:,}, and no product with it has a higher rank",),
            help=f"use `rank: {least}` or less",
            severity="warning",
        )
