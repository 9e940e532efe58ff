"""The Python way in, under the names that `import specc` offers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PrivateAttr

from specc import driver, ir
from specc.driver import Outcome, Wishes
from specc.source import Source, SpecErrors, read, read_text
from specc.source.writing import to_text
from specc.spec import spec as language
from specc.spec.parse import parse
from specc.spec.quantities import Quantity, quantity
from specc.spec.settings import settings

__all__ = ["Outcome", "Spec", "SpecErrors", "check", "compile", "load", "plan", "quantity"]

PYTHON = "<python>"
"""What diagnostics call a spec that was built in Python: they quote it as YAML."""


class Spec(language.Spec):
    """One experiment. Sections are kinds (`Gqa(num_heads=8, num_kv_heads=2)`) or dicts as in YAML, in any mixture.

    SpecErrors when it is no legal spec. What `check` adds needs the whole experiment.
    """

    _source: Source | None = PrivateAttr(None)

    def __init__(self, **fields: Any) -> None:
        source = _as_source(fields)
        super().__init__(**_fields(parse(source)))
        self._source = source


def load(path: str | os.PathLike[str], sets: tuple[str, ...] = ()) -> Spec:
    """The spec of a file, with overrides such as `model.num_layers=4`; SpecErrors when it is no legal spec."""
    source = read(Path(path), tuple(sets))
    spec = Spec.model_construct(**_fields(parse(source)))
    spec._source = source
    return spec


def check(spec: Spec | str | os.PathLike[str], *, variant: str | None = None) -> Outcome:
    """Everything that is wrong with a spec, and its plans where nothing is: one, or one a variant. Raises nothing."""
    return _check(spec, Wishes(variant=variant))


def plan(spec: Spec | str | os.PathLike[str], *, variant: str | None = None) -> ir.Plan:
    """The experiment placed on its cluster: memory, time, money, layout.

    SpecErrors when it has errors, ValueError when it is a sweep of several variants and none is named.
    """
    return _one(_sound(check(spec, variant=variant)))


def compile(  # noqa: A001  # the name of the command; nobody writes `from specc import *`
    spec: Spec | str | os.PathLike[str], out: str | os.PathLike[str] = "generated", *, force: bool = False
) -> Path:
    """Write code, plans, jobs and suites to OUT/NAME and return that folder; of a sweep, return its index.

    SpecErrors when the spec has errors; specc.writing.EditedError rather than overwrite an edit, unless `force`.
    """
    from specc.writing import write, write_sweep

    outcome = _sound(_check(spec, Wishes(emitting=True)))
    emitted = driver.emit_all(outcome.plans)
    if outcome.sweep is not None:
        index, folders = driver.indexed(outcome, emitted)
        write_sweep(Path(out), index, folders, force=force)
        return Path(out) / index.path
    folder = Path(out) / _one(outcome).experiment.name
    write(folder, emitted[0], force=force)
    return folder


def _check(spec: Spec | str | os.PathLike[str], wishes: Wishes) -> Outcome:
    try:
        return driver.check_source(_source_of(spec) if isinstance(spec, Spec) else read(Path(spec)), wishes)
    except SpecErrors as errors:
        return Outcome((), errors.diagnostics, errors.texts)


def _sound(outcome: Outcome) -> Outcome:
    if outcome.failed:
        raise SpecErrors(outcome.diagnostics, outcome.texts)
    return outcome


def _one(outcome: Outcome) -> ir.Plan:
    if outcome.plan is None:
        raise ValueError(f"a sweep of {len(outcome.plans):,} variants has no one plan: name a variant")
    return outcome.plan


def _fields(spec: language.Spec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in type(spec).model_fields if name in spec.model_fields_set}


def _source_of(spec: Spec) -> Source:
    """Where the spec was written; as YAML of its own where a copy has changed since."""
    source = spec._source
    if source is not None and tuple(settings(parse(source))) == tuple(settings(spec)):
        return source
    return _as_source(_plain(spec))


def _as_source(fields: Mapping[str, Any]) -> Source:
    return read_text(to_text(_plain(fields)), PYTHON, Path.cwd())


def _plain(value: Any) -> Any:
    """A value as YAML has it; TypeError for what YAML has not."""
    if isinstance(value, BaseModel):
        items = type(value).model_fields.items()
        return {
            info.alias or name: _plain(getattr(value, name)) for name, info in items if name in value.model_fields_set
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Quantity | os.PathLike):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{value!r} is no value of a spec: it takes text, numbers, dicts, lists and kinds")
