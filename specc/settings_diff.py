"""What differs between specs: one row a path, and one row for a subtree that only some of them have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MEANINGS = {
    "identity": "another experiment",
    "numerics": "the same experiment, not bit for bit",
    "execution": "the same experiment, run otherwise",
    "annotation": "words only",
}
"""What a difference of each class means, the strongest first."""
EFFECTS = tuple(MEANINGS)
Settings = dict[str, tuple[Any, str]]
"""(value, effect) by dotted path."""


@dataclass(frozen=True)
class Present:
    """A value that a spec has; None stands for a path that it does not have."""

    value: Any
    """The value of a path, or the values of a subtree by relative path."""


@dataclass(frozen=True)
class SettingRow:
    """One difference."""

    path: str
    effect: str
    values: tuple[Present | None, ...]
    """In the order of the specs."""
    leaves: int = 1
    """Settings in the row; more than one for a subtree."""


def diff_settings(specs: tuple[Settings, ...]) -> tuple[SettingRow, ...]:
    """Differences between resolved specs, the strongest effect first, then in the order of the specs.

    `name` is left out unless it is all that differs.
    """
    paths = list(dict.fromkeys(path for spec in specs for path in spec))
    differing = [path for path in paths if len({repr(spec.get(path, (_ABSENT,))[0]) for spec in specs}) > 1]
    if differing != ["name"]:
        differing = [path for path in differing if path != "name"]
    groups: dict[str, list[str]] = {}
    for path in differing:
        groups.setdefault(_row_of(path, specs), []).append(path)
    rows = [_row(prefix, members, specs) for prefix, members in groups.items()]
    return tuple(sorted(rows, key=lambda row: EFFECTS.index(row.effect) if row.effect in EFFECTS else len(EFFECTS)))


def gist(present: Present | None, leaves: int, show: Callable[[Any], str]) -> str:
    """A value of a row in few words: itself, or what tells a subtree from another."""
    if present is None:
        return "-"
    if leaves == 1:
        return show(present.value)
    told = [f"{name}: {show(present.value[name])}" for name in ("kind", "path") if name in present.value]
    if len(present.value) <= 2:
        told = [f"{name}: {show(value)}" for name, value in present.value.items()]
    more = len(present.value) - len(told)
    return ", ".join([*told, *([f"{more} more" if told else f"{more} settings"] if more else [])])


_ABSENT = object()


def _row_of(path: str, specs: tuple[Settings, ...]) -> str:
    """The path itself, or the largest subtree around it that exactly the same specs have, and only as a whole."""
    owners = [path in spec for spec in specs]
    if all(owners):
        return path
    parts = path.split(".")
    for length in range(1, len(parts)):
        prefix = ".".join(parts[:length])
        below = {name for spec in specs for name in spec if name == prefix or name.startswith(prefix + ".")}
        if len(below) > 1 and all([name in spec for spec in specs] == owners for name in below):
            return prefix
    return path


def _row(prefix: str, members: list[str], specs: tuple[Settings, ...]) -> SettingRow:
    effects = {spec[path][1] for spec in specs for path in members if path in spec}
    strongest = next((effect for effect in EFFECTS if effect in effects), min(effects))
    if members == [prefix]:
        values = tuple(Present(spec[prefix][0]) if prefix in spec else None for spec in specs)
        return SettingRow(prefix, strongest, values)
    trees = tuple(
        {path.removeprefix(prefix + "."): spec[path][0] for path in spec if path.startswith(prefix + ".")}
        for spec in specs
    )
    return SettingRow(prefix, strongest, tuple(Present(tree) if tree else None for tree in trees), len(members))
