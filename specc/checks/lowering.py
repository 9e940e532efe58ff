"""What the language can say and this version cannot yet emit or run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from specc.diagnostics import At, Finding
from specc.diagnostics.near import nearest
from specc.ir import Experiment, Export, Stage


def check_lowering(experiment: Experiment) -> Iterator[Finding]:
    """Stages of kinds that have no lowering: they are planned and locked, and no code is emitted for them."""
    without = [stage for stage in experiment.stages if not stage.lowered and _refused(stage) is None]
    yield from (replace(found, severity="note") for stage in experiment.stages if (found := _refused(stage)))
    if without:
        names = ", ".join(f"`{stage.name}`" for stage in without)
        several = len(without) > 1
        yield Finding(
            "SPC810",
            f"this version of specc emits no code for stage{'s' if several else ''} {names}",
            tuple(At(("stages", stage.name, "kind"), f"no lowering for `{stage.kind}`") for stage in without),
            (f"{'they are' if several else 'it is'} checked, planned and locked like the others",),
            severity="note",
        )


def refuse_lowering(stage: Stage) -> Finding:
    """The same as an error, for a stage that is asked for by name."""
    return _refused(stage) or Finding(
        "SPC810",
        f"this version of specc emits no code for stage `{stage.name}`",
        (At(("stages", stage.name, "kind"), f"no lowering for `{stage.kind}`"),),
    )


def _refused(stage: Stage) -> Finding | None:
    """Why a model cannot be exported: the kind has code, and not for every model."""
    work = stage.work
    if not isinstance(work, Export) or work.refusal is None:
        return None
    at = ("stages", stage.name)
    if work.module == "generated":
        return Finding("SPC910", f"stage `{stage.name}` cannot be run: {work.refusal}", (At((*at, "module")),))
    return Finding(
        "SPC910",
        f"stage `{stage.name}` cannot be run: no class of transformers is known to compute this model",
        (At((*at, "kind")), At(("model",), of_key=True)),
        (work.refusal,),
    )


def check_asked(experiment: Experiment, names: tuple[str, ...]) -> Iterator[Finding]:
    """Stages that are asked for by name: they exist, and have code."""
    known = {stage.name: stage for stage in experiment.stages}
    for name in names:
        if name not in known:
            near = nearest(name, known)
            help_text = f"did you mean `{near}`?" if near else f"it has {', '.join(f'`{key}`' for key in known)}"
            yield Finding("SPC510", f"there is no stage `{name}`", (At(("stages",), of_key=True),), help=help_text)
        elif not known[name].lowered:
            yield refuse_lowering(known[name])


def check_sources(experiment: Experiment) -> Iterator[Finding]:
    """Sources that no runner of this version reads: the stage would refuse to start."""
    read = {stage.data for stage in experiment.stages if stage.lowered}
    for dataset in experiment.data:
        if dataset.unread and dataset.name in read:
            at = ("data", dataset.name, "sources")
            kinds = ", ".join(dict.fromkeys(f"`{dataset.sources[key]['kind']}`" for key in dataset.unread))
            yield Finding(
                "SPC213",
                f"this version of specc does not read sources of kind {kinds}",
                tuple(At((*at, key, "kind")) for key in dataset.unread),
                (f"a run stops before it trains on `{dataset.name}` without them",),
                severity="note",
            )


def check_filters(experiment: Experiment) -> Iterator[Finding]:
    """Filters that no runner of this version applies: the stage would refuse to start."""
    read = {stage.data for stage in experiment.stages if stage.lowered}
    for dataset in experiment.data:
        if dataset.filters and dataset.name in read:
            kinds = ", ".join(f"`{filter_['kind']}`" for filter_ in dataset.filters)
            yield Finding(
                "SPC811",
                f"this version of specc does not run the filters of `{dataset.name}`",
                (At(("data", dataset.name, "filters"), of_key=True),),
                (f"a run stops before it trains on unfiltered data: {kinds}",),
                severity="note",
            )
