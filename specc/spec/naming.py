"""What an experiment is called: its name, and after an `@` what makes it another one."""

from __future__ import annotations

from dataclasses import replace

from specc.source import DELETES, Source, SpecErrors
from specc.spec.parse import parse
from specc.spec.settings import settings
from specc.spec.spec import Spec
from specc.spec.variant import variant

_MISSING = object()


def named(spec: Spec, *labels: str) -> str:
    """The name with the labels that say something, such as `tiny@num_layers=2+rope`."""
    words = [label for label in labels if label]
    return f"{spec.name}@{'+'.join(words)}" if words else spec.name


def label_of_overrides(source: Source, spec: Spec) -> str:
    """What overrides make another experiment; where it runs, and what changes nothing, is no part of a name."""
    if not source.overrides:
        return ""
    changed = _changed(source, spec)
    telling = tuple(
        text for text in source.overrides if _touches(text.removeprefix(DELETES).partition("=")[0], changed)
    )
    return variant(telling, tuple(setting.path for setting in settings(spec))) if telling else ""


def _changed(source: Source, spec: Spec) -> frozenset[str]:
    """Paths of identity-class values that are others without the overrides; all, where that is no whole spec."""
    now = _identities(spec)
    if source.written is None:
        return frozenset(now)
    try:
        before = _identities(parse(replace(source, root=source.written)))
    except SpecErrors:
        return frozenset(now)
    return frozenset(path for path in {*now, *before} if now.get(path, _MISSING) != before.get(path, _MISSING))


def _identities(spec: Spec) -> dict[str, object]:
    return {setting.path: setting.meaning for setting in settings(spec) if setting.effect == "identity"}


def _touches(path: str, changed: frozenset[str]) -> bool:
    """Whether setting a path sets any of the changed ones; `x.extends` sets what lies below `x`."""
    section = path.removesuffix("extends").rstrip(".")
    return not section or any(f"{other}.".startswith(f"{section}.") for other in changed)
