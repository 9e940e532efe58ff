"""A source with a `sweep` as the sources of its variants, in which every value keeps the place where it was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.source import Source, SpecErrors
from specc.source.overrides import parts_of, place
from specc.source.tree import Entry, Mapping, to_data
from specc.spec.parse import MOST, not_shown
from specc.spec.sweep_checks import GROUPS, SWEEP, Swept, check_sweep
from specc.spec.variant import labels


@dataclass(frozen=True)
class Point:
    """One value of one swept path."""

    path: str
    at: Path
    """Where the value stands in the spec."""
    entry: Entry


@dataclass(frozen=True)
class Variant:
    """One spec of a sweep: its own tree, and what makes it. A spec without a sweep is one variant without a label."""

    source: Source
    points: tuple[Point, ...] = ()
    label: str = ""

    @property
    def name(self) -> str:
        """As messages call it, and `--variant` takes it."""
        return f"{self.source.root.scalar('name')}@{self.label}"

    @property
    def overrides(self) -> dict[str, Any]:
        """The plain values that it sets, by path."""
        return {point.path: to_data(point.entry.node) for point in self.points}


def variants(source: Source, only: str | None = None) -> tuple[Variant, ...]:
    """All variants, or the one of that name, in the order of the file: its last path changes fastest, then `zip`.

    SpecErrors where a sweep cannot be read, or has no variant of that name.
    """
    swept = _swept(source.root)
    findings = [] if swept is None else list(check_sweep(swept, source))
    found: tuple[Variant, ...] = (Variant(source),)
    if swept is not None and not findings:
        found = _expand(swept, source)
    chosen = tuple(variant for variant in found if only in (None, variant.label, variant.name))
    if not chosen and not findings:
        findings = [_no_variant(only or "", found)]
    if findings:
        said = [*findings[:MOST], *not_shown(len(findings) - MOST)]
        raise SpecErrors(tuple(source.locate(finding) for finding in said), source.texts)
    return chosen


def same_experiments(found: tuple[Variant, ...], experiments: tuple[ir.Experiment, ...]) -> Iterator[Finding]:
    """Variants that another one makes unnecessary: one finding for all that differ in the same paths only."""
    first: dict[str, int] = {}
    pairs: dict[tuple[Path, ...], list[tuple[int, int]]] = {}
    for index, experiment in enumerate(experiments):
        other = first.setdefault(experiment.identity, index)
        if other != index:
            one, two = found[other].points, found[index].points
            paths = tuple(b.at[:-1] for a, b in zip(one, two, strict=True) if a.at != b.at)
            pairs.setdefault(paths, []).append((other, index))
    for paths, same in pairs.items():
        yield _same(paths, [(found[a], found[b]) for a, b in same], *(experiments[index] for index in same[0]))


def _swept(root: Mapping) -> tuple[Swept, ...] | None:
    """The entries of a sweep; None where there are none, or where parsing says what is wrong with its shape."""
    entry = root.entries.get(SWEEP)
    if entry is None or not isinstance(entry.node, Mapping) or not set(entry.node.entries) <= set(GROUPS):
        return None
    groups = entry.node.entries.items()
    if not all(isinstance(group.node, Mapping) for _, group in groups):
        return None
    found = tuple(
        Swept(group, path, inner)
        for group in GROUPS
        for key, outer in groups
        if key == group and isinstance(outer.node, Mapping)
        for path, inner in outer.node.entries.items()
    )
    return found or None


def _expand(swept: tuple[Swept, ...], source: Source) -> tuple[Variant, ...]:
    columns = [[(point,) for point in _points(entry)] for entry in swept if entry.group == "grid"]
    in_step = list(zip(*(_points(entry) for entry in swept if entry.group == "zip"), strict=True))
    combined = [sum(steps, ()) for steps in product(*columns, *([in_step] if in_step else []))]
    bare = Mapping({key: entry for key, entry in source.root.entries.items() if key != SWEEP}, source.root.span)
    named = labels([[(point.path, point.entry.node) for point in points] for points in combined], bare)
    return tuple(
        Variant(replace(source, root=_placed(bare, points), written=None), points, label)
        for points, label in zip(combined, named, strict=True)
    )


def _points(entry: Swept) -> tuple[Point, ...]:
    return tuple(
        Point(entry.path, (*entry.at, index), Entry(entry.entry.key, item)) for index, item in enumerate(entry.items)
    )


def _placed(root: Mapping, points: tuple[Point, ...]) -> Mapping:
    for point in points:
        root = place(root, parts_of(point.path), point.entry)
    return root


def _no_variant(name: str, found: tuple[Variant, ...]) -> Finding:
    if not found[0].points:
        return Finding("SPC027", f"there is no variant `{name}`: this spec has no `sweep`")
    near = nearest(name.rpartition("@")[2], [variant.label for variant in found])
    help_text = f"did you mean `{near}`?" if near else f"the first of its {len(found):,} is `{found[0].label}`"
    return Finding("SPC027", f"the sweep has no variant `{name}`", (At((SWEEP,), of_key=True),), help=help_text)


def _same(
    paths: tuple[Path, ...], same: list[tuple[Variant, Variant]], one: ir.Experiment, two: ir.Experiment
) -> Finding:
    first, second = same[0]
    pairs = [(a.at, b.at) for a, b in zip(first.points, second.points, strict=True) if a.at != b.at]
    at = tuple(At(place) for places in pairs for place in reversed(places))
    headline = f"`{first.label}` and `{second.label}` are the same experiment"
    more = (f"so are {len(same) - 1:,} more variants and an earlier one",) if len(same) > 1 else ()
    if _values(one) == _values(two):
        return Finding("SPC026", headline, at, more, help="leave one of them out")
    swept = [str(path[-1]) for path in paths]
    listed = " and ".join(f"`{path}`" for path in swept)
    if all(parts_of(path)[0] == "data" and parts_of(path)[-1] in ("path", "exclude") for path in swept):
        headline = f"`{first.label}` and `{second.label}` read other files under one name"
        note = "where files lie is no part of a key: runs of both count as repeats of one experiment"
        help_text = "give each set of files an entry of its own in `data`, and sweep the `data` of the stage"
        return Finding("SPC026", headline, at, (note, *more), help=help_text, severity="warning")
    note = f"{listed} is no part of what is learned: it says where and how the same experiment runs"
    return Finding("SPC026", headline, at, (note, *more), severity="warning")


def _values(experiment: ir.Experiment) -> dict[str, Any]:
    return {s.path: s.meaning for s in experiment.settings if s.effect != "annotation"}
