"""What differs between two specs, what of it runs again, and what a running job may do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from specc import ir
from specc.settings_diff import SettingRow, Settings, diff_settings
from specc.spec.lower import REFERENCES

_SECTIONS = ("data", "suites", "stages")
"""Sections whose entries the user names; a reference leads into the one that holds what it names."""
_NAMED_IN = {"from": "stages", "reference": "stages", "models": "stages", "data": "data", "suites": "suites"}
_LENGTHS = {
    "duration": "steps",
    "global_batch_size": "global_batch_size",
    "schedule.warmup": "warmup_steps",
    "schedule.decay": "decay_steps",
}
"""Settings of a training stage that stand for a number of steps or sequences."""
Names = Mapping[str, Mapping[str, str]]
"""By section: what the second spec calls an entry, to what the first one does."""


@dataclass(frozen=True)
class Rename:
    """The same thing under another name."""

    section: str
    before: str
    after: str


@dataclass(frozen=True)
class Respelling:
    """The same value in other words."""

    path: str
    before: str
    after: str


@dataclass(frozen=True)
class StageVerdict:
    """What becomes of a stage, under its name in the first spec where it has one."""

    name: str
    state: str
    """`same`, `changed`, `new` or `gone`."""
    because: tuple[str, ...] = ()
    """Settings, and stages before it, that make it run again."""
    resume: str = ""
    """Of a running job: `exact`, `same_files` (exact if they are), `other_bits`, `refused`; else another run."""
    over: tuple[str, ...] = ()
    """What makes the bits others, or may."""


@dataclass(frozen=True)
class Fact:
    """A number that follows from each spec; None where it is not known."""

    stage: str
    name: str
    unit: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Difference:
    """All of it."""

    experiments: tuple[str, str]
    identities: tuple[str, str]
    renames: tuple[Rename, ...]
    settings: tuple[SettingRow, ...]
    respellings: tuple[Respelling, ...]
    stages: tuple[StageVerdict, ...]
    facts: tuple[Fact, ...]
    """Those that differ."""

    @property
    def differs(self) -> bool:
        """Whether the specs say different things; in other words is not different."""
        return bool(self.settings or self.renames)


def difference(before: ir.Plan, after: ir.Plan) -> Difference:
    """What `after` changes."""
    a, b = before.experiment, after.experiment
    renames = tuple(_renames(a, b))
    names = {s: {each.after: each.before for each in renames if each.section == s} for s in _SECTIONS}
    first, second = _by_path(a.settings), _by_path(tuple(_renamed(setting, names) for setting in b.settings))
    respelt = tuple(_respellings(first, second, _lengths(a, {}), _lengths(b, names["stages"])))
    same = {each.path for each in respelt}
    rows = diff_settings((_told(first), _told({p: first[p] if p in same else s for p, s in second.items()})))
    rows = _with_sizes(rows, {*_sizes_that_count(a, {}), *_sizes_that_count(b, names["data"])})
    return Difference(
        (a.name, b.name),
        (a.identity, b.identity),
        renames,
        rows,
        respelt,
        tuple(_verdicts(before, after, rows, names)),
        tuple(fact for fact in _facts(before, after, names["stages"]) if fact.before != fact.after),
    )


def _sizes_that_count(experiment: ir.Experiment, called: Mapping[str, str]) -> Iterator[str]:
    """Paths of the sizes of data sets that decide how long a stage is, in epochs."""
    for stage in experiment.stages:
        if stage.data is not None and _in_epochs(experiment, stage.name):
            yield f"data.{called.get(stage.data, stage.data)}.tokens"


def _in_epochs(experiment: ir.Experiment, stage: str) -> bool:
    path = f"stages.{stage}.duration"
    return any(s.path == path and str(s.meaning).endswith(" epochs") for s in experiment.settings)


def _with_sizes(rows: tuple[SettingRow, ...], paths: set[str]) -> tuple[SettingRow, ...]:
    """The same with sizes that decide a length as what they are then: another experiment."""
    told = [replace(row, effect="identity") if row.path in paths else row for row in rows]
    return tuple(sorted(told, key=lambda row: row.effect != "identity"))


def _by_path(settings: tuple[ir.Setting, ...]) -> dict[str, ir.Setting]:
    return {setting.path: setting for setting in settings}


def _told(settings: Mapping[str, ir.Setting]) -> Settings:
    return {path: (setting.value, setting.effect) for path, setting in settings.items()}


# ----------------------------------------------------------------------------------------------------------- renames


def _renames(a: ir.Experiment, b: ir.Experiment) -> Iterator[Rename]:
    """Entries that only one spec has by name and both have by content: equal in all they say, else in what counts."""
    for section in _SECTIONS:
        gone = {name: _entry(a, section, name) for name in _names(a, section) if name not in _names(b, section)}
        come = {name: _entry(b, section, name) for name in _names(b, section) if name not in _names(a, section)}
        for alike, after in product((_everything, _identity), tuple(come)):
            pairs = [name for name, other in gone.items() if after in come and alike(other) == alike(come[after])]
            if pairs:
                yield Rename(section, pairs[0], after)
                del gone[pairs[0]], come[after]


def _names(experiment: ir.Experiment, section: str) -> tuple[str, ...]:
    parts = (setting.path.split(".") for setting in experiment.settings)
    return tuple(dict.fromkeys(part[1] for part in parts if part[0] == section and len(part) > 1))


def _entry(experiment: ir.Experiment, section: str, name: str) -> tuple[tuple[str, ir.Setting], ...]:
    """What an entry says, references left out: what they name may have been renamed too."""
    prefix = f"{section}.{name}."
    own = (setting for setting in experiment.settings if setting.path.startswith(prefix))
    return tuple((s.path.removeprefix(prefix), s) for s in own if not REFERENCES & set(s.path.split(".")[-2:]))


def _everything(entry: tuple[tuple[str, ir.Setting], ...]) -> dict[str, Any]:
    return {path: setting.meaning for path, setting in entry}


def _identity(entry: tuple[tuple[str, ir.Setting], ...]) -> dict[str, Any]:
    return {path: setting.meaning for path, setting in entry if setting.effect == "identity"}


def _renamed(setting: ir.Setting, names: Names) -> ir.Setting:
    """A setting of the second spec in the words of the first."""
    section, _, rest = setting.path.partition(".")
    name, dot, below = rest.partition(".")
    path = f"{section}.{names[section].get(name, name)}{dot}{below}" if section in names else setting.path
    last = next((part for part in reversed(path.split(".")) if not part.isdigit()), "")
    if last not in _NAMED_IN or not REFERENCES & set(path.split(".")[-2:]) or section not in names:
        return replace(setting, path=path)
    known = names[_NAMED_IN[last]]
    value = setting.value
    value = tuple(known.get(v, v) for v in value) if isinstance(value, tuple) else known.get(value, value)
    return replace(setting, path=path, value=value, meaning=value)


def _lengths(experiment: ir.Experiment, names: Mapping[str, str]) -> dict[str, int | None]:
    """What durations, batches and warm-ups come to, by the path of the setting."""
    return {
        f"stages.{names.get(stage.name, stage.name)}.{path}": getattr(stage.work, attribute)
        for stage in experiment.stages
        if isinstance(stage.work, ir.Training)
        for path, attribute in _LENGTHS.items()
    }


def _respellings(
    a: Mapping[str, ir.Setting],
    b: Mapping[str, ir.Setting],
    lengths_a: Mapping[str, int | None],
    lengths_b: Mapping[str, int | None],
) -> Iterator[Respelling]:
    for path, before in a.items():
        after = b.get(path)
        if after is None or before.value == after.value:
            continue
        equal_length = path in lengths_a and lengths_a[path] is not None and lengths_a[path] == lengths_b.get(path)
        if before.meaning == after.meaning or equal_length:
            yield Respelling(path, str(before.value), str(after.value))


# ------------------------------------------------------------------------------------------------------------ stages


def _verdicts(before: ir.Plan, after: ir.Plan, rows: tuple[SettingRow, ...], names: Names) -> Iterator[StageVerdict]:
    old = {stage.name: stage for stage in before.experiment.stages}
    called = names["stages"]
    changed: set[str] = set()
    for stage in after.experiment.stages:
        name = called.get(stage.name, stage.name)
        if name not in old:
            yield StageVerdict(name, "new")
        elif old[name].key == stage.key:
            files = _files(stage, rows, names)
            resume, over = _resume(name, rows, _layouts(before, after, name, stage.name), files)
            yield StageVerdict(name, "same", (), resume, over)
        else:
            changed.add(name)
            upstream = [called.get(base, base) for base in stage.after]
            because = [
                *_causes(after.experiment, stage, name, rows, names),
                *(base for base in upstream if base in changed),
            ]
            yield StageVerdict(name, "changed", tuple(because))
    kept = {called.get(stage.name, stage.name) for stage in after.experiment.stages}
    for name in old:
        if name not in kept:
            yield StageVerdict(name, "gone")


def _causes(
    experiment: ir.Experiment, stage: ir.Stage, name: str, rows: tuple[SettingRow, ...], names: Names
) -> Iterator[str]:
    """Identity settings that differ, of what a stage is, stands on or reads."""
    scopes = ["seed", "tokenizer", "model", f"stages.{name}"]
    scopes += [f"data.{names['data'].get(data, data)}" for data in _reads(stage)]
    if isinstance(stage.work, ir.Evaluation):
        scopes += [f"suites.{names['suites'].get(suite.name, suite.name)}" for suite in stage.work.suites]
    for row in rows:
        size = row.path.startswith("data.") and row.path.endswith(".tokens") and row.leaves == 1
        counts = row.effect == "identity" and (not size or _in_epochs(experiment, stage.name))
        if counts and any(_overlap(row.path, scope) for scope in scopes):
            yield row.path


def _reads(stage: ir.Stage) -> Iterator[str]:
    if stage.data is not None:
        yield stage.data
    if isinstance(stage.work, ir.Evaluation):
        yield from (task.data for suite in stage.work.suites for task in suite.tasks if task.data is not None)
        yield from (baseline["data"] for baseline in stage.work.baselines if baseline.get("data") is not None)


def _overlap(path: str, scope: str) -> bool:
    return f"{path}.".startswith(f"{scope}.") or f"{scope}.".startswith(f"{path}.")


def _files(stage: ir.Stage, rows: tuple[SettingRow, ...], names: Names) -> tuple[str, ...]:
    """Settings that differ and say which files the stage reads."""
    scopes = [f"data.{names['data'].get(data, data)}." for data in _reads(stage)]
    ends = ("path", "exclude")
    return tuple(row.path for row in rows if row.path.startswith(tuple(scopes)) and row.path.rpartition(".")[2] in ends)


def _layouts(before: ir.Plan, after: ir.Plan, name: str, called: str) -> tuple[str, ...]:
    """What differs in the layouts that the planner chose, as `zero_stage 1 -> 3`."""
    one, other = before.stage(name).layout, after.stage(called).layout
    if one is None or other is None:
        return ()
    pairs = ((field, getattr(one, field), getattr(other, field)) for field in one.__dataclass_fields__)
    return tuple(f"{field} {a} -> {b}" for field, a, b in pairs if a != b)


def _resume(
    name: str, rows: tuple[SettingRow, ...], layout: tuple[str, ...], files: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """How a job of an unchanged stage goes on, and what makes it go on otherwise.

    The runner refuses to go on in another precision, whose optimizer states mean something else.
    """
    own = [row.path for row in rows if row.effect == "numerics"]
    own = [path for path in own if _overlap(path, f"stages.{name}") or not path.startswith("stages.")]
    refused = tuple(path for path in own if path.rpartition(".")[2] == "precision")
    if refused:
        return "refused", refused
    over = (*own, *layout)
    if over:
        return "other_bits", (*over, *files)
    return ("same_files", files) if files else ("exact", ())


# ------------------------------------------------------------------------------------------------------------- facts


def _facts(before: ir.Plan, after: ir.Plan, called: Mapping[str, str]) -> Iterator[Fact]:
    """Parameters, FLOPs, memory, time and money, of both."""
    models = (before.experiment.model, after.experiment.model)
    yield Fact("", "parameters", "", models[0].parameters, models[1].parameters)
    if any(model.active_parameters != model.parameters for model in models):
        yield Fact("", "active parameters", "", models[0].active_parameters, models[1].active_parameters)
    per_token = [model.forward_flops_per_token(model.context_length) for model in models]
    yield Fact("", "forward FLOPs per token", "", per_token[0], per_token[1])
    yield Fact("", "duration", "s", _sum(before, "duration_s"), _sum(after, "duration_s"))
    yield Fact("", "cost", "USD", _sum(before, "cost_usd"), _sum(after, "cost_usd"))
    old = {stage.stage: stage for stage in before.stages}
    new = {called.get(stage.stage, stage.stage): stage for stage in after.stages}
    for name in dict.fromkeys([*old, *new]):
        pair = (old.get(name), new.get(name))
        for label, unit, attribute in _STAGE_FACTS:
            values = [_number(stage, attribute) for stage in pair]
            yield Fact(name, label, unit, values[0], values[1])


_STAGE_FACTS = (
    ("steps", "", "steps"),
    ("tokens", "", "tokens"),
    ("model FLOPs", "", "flops"),
    ("memory per device", "bytes", "memory"),
    ("step time", "s", "step_time_s"),
    ("duration", "s", "duration_s"),
    ("cost", "USD", "cost_usd"),
)


def _number(stage: ir.StagePlan | None, attribute: str) -> float | None:
    value = None if stage is None else getattr(stage, attribute)
    return value.total if isinstance(value, ir.Memory) else value


def _sum(plan: ir.Plan, attribute: str) -> float | None:
    known = [value for stage in plan.stages if (value := getattr(stage, attribute)) is not None]
    return sum(known) if known else None
