"""Names that a spec refers to: stages, data sets, suites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.kinds.stage.evaluate import Evaluate
from specc.kinds.stage.training import TrainingStage
from specc.spec.remedies import replace_word
from specc.spec.spec import Spec


def check_references(spec: Spec) -> Iterator[Finding]:
    """Every name that is used exists, and no stage builds on itself."""
    unknown = False
    for finding in _unknown_names(spec):
        unknown = True
        yield finding
    if not unknown:
        yield from _cycle(spec)
        yield from _what_stages_leave(spec)


def _unknown_names(spec: Spec) -> Iterator[Finding]:
    for name, stage in spec.stages.items():
        at: Path = ("stages", name)
        if isinstance(stage, Evaluate):
            yield from _each(stage.models, (*at, "models"), spec.stages, "SPC510", "stage")
            yield from _each(stage.suites, (*at, "suites"), spec.suites, "SPC604", "suite")
            for index, baseline in enumerate(stage.baselines):
                yield from _one(baseline.data, (*at, "baselines", index, "data"), spec.data, "SPC211", "data set")
            continue
        for base in stage.after():
            yield from _one(base, (*at, "from"), spec.stages, "SPC510", "stage")
        if isinstance(stage, TrainingStage):
            yield from _one(stage.data, (*at, "data"), spec.data, "SPC211", "data set")
    for name, suite in spec.suites.items():
        for index, task in enumerate(suite.tasks):
            if task.data is not None:
                where: Path = ("suites", name, "tasks", index, "data")
                yield from _one(task.data, where, spec.data, "SPC211", "data set")


def _each(names: tuple[str, ...], at: Path, known: Iterable[str], code: str, what: str) -> Iterator[Finding]:
    for index, name in enumerate(names):
        yield from _one(name, (*at, index), known, code, what)


def _one(name: str, at: Path, known: Iterable[str], code: str, what: str) -> Iterator[Finding]:
    choices = list(known)
    if name in choices:
        return
    near = nearest(name, choices)
    listed = ", ".join(f"`{choice}`" for choice in choices) or "none"
    help_text = f"did you mean `{near}`?" if near else f"this spec has {listed}"
    remedy = replace_word(at, name, near, choices) if near else None
    yield Finding(code, f"there is no {what} `{name}`", (At(at),), help=help_text, remedy=remedy)


def _cycle(spec: Spec) -> Iterator[Finding]:
    try:
        TopologicalSorter({name: stage.after() for name, stage in spec.stages.items()}).prepare()
    except CycleError as error:
        loop = list(reversed(error.args[1]))
        places = tuple(At(("stages", name), of_key=True) for name in loop[:-1])
        yield Finding("SPC506", f"stages start from each other: {' -> '.join(loop)}", places)


def _what_stages_leave(spec: Spec) -> Iterator[Finding]:
    """Only a stage that trains leaves a model behind."""
    for name, stage in spec.stages.items():
        field = "models" if isinstance(stage, Evaluate) else "from"
        for index, base in enumerate(stage.after()):
            if isinstance(spec.stages[base], TrainingStage):
                continue
            at: Path = ("stages", name, field, index) if field == "models" else ("stages", name, field)
            trained = [key for key, other in spec.stages.items() if isinstance(other, TrainingStage) and key != name]
            yield Finding(
                "SPC511",
                f"stage `{base}` of kind `{spec.stages[base].kind}` leaves no model behind",
                (At(at), At(("stages", base), of_key=True)),
                help=f"models come from {', '.join(f'`{key}`' for key in trained)}" if trained else None,
            )
