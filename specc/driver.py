"""The whole order: a path goes in, a plan and its artifacts come out. Nothing else knows more than its neighbour.

spec.yaml --read--> Source --parse--> Spec --lower--> Experiment --passes--> Experiment --plan--> Plan --emit--> files
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from specc import ir
from specc.checks import CHECKS, PLAN_CHECKS
from specc.checks.lowering import refuse_lowering
from specc.diagnostics import At, Diagnostic, Finding
from specc.diagnostics.levels import Levels, check_levels, check_use, levelled
from specc.diagnostics.near import nearest
from specc.passes import PASSES
from specc.planning import DEVICES, plan_experiment, predictions
from specc.source import DELETES, Source, SpecErrors, read
from specc.spec.language import effects
from specc.spec.lower import check as check_spec
from specc.spec.lower import lower
from specc.spec.parse import parse
from specc.spec.settings import settings
from specc.spec.spec import Spec
from specc.spec.variant import variant

if TYPE_CHECKING:
    from specc.backends import Artifact


DEFAULT = Levels()
"""Each code as loud as it says of itself."""


Watch = Callable[[str, ir.Experiment | ir.Plan], None]
"""Is shown the IR after lowering, after each pass and after planning, with the name of what made it."""


def unwatched(name: str, value: ir.Experiment | ir.Plan) -> None:
    """Nobody looks."""
    del name, value


@dataclass(frozen=True)
class Outcome:
    """What came of a spec: everything that was found, and the plan where nothing was an error."""

    plan: ir.Plan | None
    diagnostics: tuple[Diagnostic, ...]
    texts: Mapping[str, str]
    """The files that diagnostics quote, by name."""
    source: Source | None = None
    spec: Spec | None = None
    """What was read and what it says, for those who ask where a value comes from."""

    @property
    def failed(self) -> bool:
        """Whether any diagnostic is an error."""
        return any(diagnostic.severity == "error" for diagnostic in self.diagnostics)


def check(
    path: Path,
    sets: tuple[str, ...] = (),
    stages: tuple[str, ...] = (),
    *,
    levels: Levels = DEFAULT,
    watch: Watch = unwatched,
) -> Outcome:
    """Read, parse, lower, check and plan a spec; `stages` are asked for by name, and must have code."""
    try:
        return check_source(read(path, sets), stages, levels=levels, watch=watch)
    except SpecErrors as errors:
        return Outcome(None, errors.diagnostics, errors.texts)


def check_source(
    source: Source, stages: tuple[str, ...] = (), *, levels: Levels = DEFAULT, watch: Watch = unwatched
) -> Outcome:
    """The same for a spec that has been read already."""
    try:
        spec = parse(source)
    except SpecErrors as errors:
        return Outcome(None, errors.diagnostics, errors.texts)
    findings = [*check_spec(spec), *_check_device(spec)]
    plan = None
    if not any(finding.severity == "error" for finding in findings):
        plan, more = _plan(source, spec, stages, watch)
        findings += more
    findings = _levelled(spec, findings, levels, complete=plan is not None)
    diagnostics = tuple(source.locate(finding) for finding in findings)
    outcome = Outcome(plan, diagnostics, source.texts, source, spec)
    return replace(outcome, plan=None) if outcome.failed else outcome


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """Every file of the generated folder, the manifest last."""
    # Loaded here, because `specc check` emits nothing and should not wait for the template engine.
    from specc.backends import BACKENDS, manifest
    from specc.formatting import format_python

    emitted = tuple(artifact for backend in BACKENDS for artifact in backend(plan))
    formatted = format_python(emitted)
    parameters = plan.experiment.model.parameters
    predicted = {stage.stage: predictions(stage, parameters) for stage in plan.stages}
    return (*formatted, manifest.emit(plan, formatted, predicted))


def _levelled(spec: Spec, findings: list[Finding], levels: Levels, *, complete: bool) -> list[Finding]:
    own = Levels(spec.allow, spec.warn)
    if own.allow or own.warn:
        wrong = list(check_levels(own))
        findings = [*findings, *wrong, *(check_use(own, findings) if complete and not wrong else ())]
    return levelled(findings, own, levels)


def _plan(source: Source, spec: Spec, stages: tuple[str, ...], watch: Watch) -> tuple[ir.Plan, list[Finding]]:
    experiment = _passed(lower(spec, _name(source, spec), source.file), watch)
    findings = [finding for run_check in CHECKS for finding in run_check(experiment)]
    findings += _check_stages(experiment, stages)
    plan, infeasible = plan_experiment(experiment, spec.cluster.lower(DEVICES[spec.cluster.device]))
    ir.verify(plan, "plan")
    watch("plan", plan)
    placed = [finding for run_check in PLAN_CHECKS for finding in run_check(plan)]
    return plan, [*findings, *infeasible, *placed]


def _passed(experiment: ir.Experiment, watch: Watch) -> ir.Experiment:
    """The experiment after every pass, verified between them."""
    ir.verify(experiment, "lower")
    watch("lower", experiment)
    for run_pass in PASSES:
        before, experiment = experiment, run_pass(experiment)
        ir.verify(experiment, run_pass.__name__, before)
        watch(run_pass.__name__, experiment)
    return experiment


def _name(source: Source, spec: Spec) -> str:
    """The name, with a variant where overrides make another experiment; where it runs is no part of the name."""
    resolved = tuple(settings(spec))
    identity = tuple(setting.path for setting in resolved if setting.effect == "identity")
    telling = tuple(text for text in source.overrides if _tells(source, text, identity))
    if not telling:
        return spec.name
    return f"{spec.name}@{variant(telling, tuple(setting.path for setting in resolved))}"


def _tells(source: Source, override: str, identity: tuple[str, ...]) -> bool:
    if override.startswith(DELETES):
        # What is gone is among no settings: the language says whether it could have told anything.
        return "identity" in effects(tuple(override[1:].split(".")), source.root)
    return _touches(override.partition("=")[0], identity)


def _touches(path: str, identity: tuple[str, ...]) -> bool:
    """Whether setting a path sets any of the identity-class ones; `x.extends` sets what lies below `x`."""
    section = path.removesuffix("extends").rstrip(".")
    return not section or any(f"{other}.".startswith(f"{section}.") for other in identity)


def _check_device(spec: Spec) -> list[Finding]:
    name = spec.cluster.device
    if name in DEVICES:
        return []
    near = nearest(name, DEVICES)
    listed = ", ".join(f"`{known}`" for known in DEVICES)
    help_text = f"did you mean `{near}`?" if near else f"it has {listed}"
    headline = f"the hardware catalogue has no device `{name}`"
    return [Finding("SPC416", headline, (At(("cluster", "device")),), help=help_text)]


def _check_stages(experiment: ir.Experiment, names: tuple[str, ...]) -> list[Finding]:
    findings = []
    known = {stage.name: stage for stage in experiment.stages}
    for name in names:
        if name not in known:
            near = nearest(name, known)
            help_text = f"did you mean `{near}`?" if near else f"it has {', '.join(f'`{key}`' for key in known)}"
            at = (At(("stages",), of_key=True),)
            findings.append(Finding("SPC510", f"there is no stage `{name}`", at, help=help_text))
        elif not known[name].lowered:
            findings.append(refuse_lowering(known[name]))
    return findings
