"""What must hold of a sweep before its variants are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.source import Source
from specc.source.extends import KEY as EXTENDS
from specc.source.overrides import file_of, parts_of
from specc.source.tree import Entry, Mapping, Node, Scalar, Sequence, child
from specc.spec import language

SWEEP, GROUPS = "sweep", ("grid", "zip")
MOST_VARIANTS = 10_000
_NEVER_SWEPT = {
    SWEEP: "a sweep holds no sweep",
    "name": "each variant is named for the values that it has",
    "specc": "all variants are written in one version of the language",
}


@dataclass(frozen=True)
class Swept:
    """One entry of a sweep: a path and its list of values."""

    group: str
    path: str
    entry: Entry

    @property
    def at(self) -> Path:
        """Where it stands in the spec."""
        return (SWEEP, self.group, self.path)

    @property
    def items(self) -> tuple[Node, ...]:
        """The values; none where it is no list."""
        return self.entry.node.items if isinstance(self.entry.node, Sequence) else ()


def check_sweep(swept: tuple[Swept, ...], source: Source) -> Iterator[Finding]:
    """Paths that lead somewhere, lists with values in them, no two entries that set the same value, and no flood."""
    found = [finding for entry in swept if (finding := _path(entry, source.root) or _list(entry)) is not None]
    found += [*_meeting(swept), *_set_as_well(swept, source)]
    yield from found or _lengths(swept)


def _path(entry: Swept, root: Mapping) -> Finding | None:
    parts = parts_of(entry.path)
    at = (At(entry.at, of_key=True),)
    if parts[0] in _NEVER_SWEPT:
        return Finding("SPC024", f"`{entry.path}` cannot be swept", at, (_NEVER_SWEPT[parts[0]],))
    if parts[-1] == EXTENDS:
        above = ".".join(parts[:-1])
        listed = ", ".join(f"{{{EXTENDS}: {item.text}}}" for item in entry.items if isinstance(item, Scalar))
        help_text = f"sweep the section: `{above}: [{listed}]`" if above else None
        note = "presets are read before the sweep is made"
        return Finding("SPC024", f"`{entry.path}` cannot be swept", at, (note,), help=help_text)
    return _nowhere(entry, parts, root)


def _nowhere(entry: Swept, parts: tuple[str, ...], root: Mapping) -> Finding | None:
    """A path through a name, an index or a value that is not there; keys are for parsing to answer."""
    at = At(entry.at, of_key=True)
    if not all(parts):
        return Finding("SPC020", f"`{entry.path}` is no path", (at,), help="write keys with one dot between them")
    node: Node | None = root
    path: Path = ()
    for part in parts:
        if isinstance(node, Scalar) and node.value is not None:
            headline = f"{language.name(path)} is a value, and nothing stands below it"
            return Finding("SPC020", headline, (at, At(path)))
        step = int(part) if isinstance(node, Sequence) and part.isdecimal() else part
        below = child(node, step) if node is not None else None
        if below is None:
            return _missing(entry, path, part, parts, node, root)
        path, node = (*path, step), below
    return None


def _missing(
    entry: Swept, path: Path, part: str, parts: tuple[str, ...], node: Node | None, root: Mapping
) -> Finding | None:
    at = At(entry.at, of_key=True)
    if isinstance(node, Sequence):
        count = len(node.items)
        headline = f"{language.name(path)} has {count} item{'' if count == 1 else 's'}, and none at index `{part}`"
        return Finding("SPC020", headline, (at, At(path)), help=f"use 0 to {count - 1}" if count else None)
    last = len(path) == len(parts) - 1
    if last or not isinstance(node, Mapping) or not language.is_named((*path, part), root):
        return None
    known = list(node.entries)
    near = nearest(part, known)
    listed = ", ".join(f"`{name}`" for name in known)
    help_text = f"did you mean `{'.'.join((*parts[: len(path)], near, *parts[len(path) + 1 :]))}`?" if near else None
    noun = language.noun((*path, part), root)
    return Finding("SPC020", f"there is no {noun} `{part}`", (at,), help=help_text or f"this spec has {listed}")


def _list(entry: Swept) -> Finding | None:
    if entry.items:
        return None
    at, node = (At(entry.at, of_key=isinstance(entry.entry.node, Mapping)),), entry.entry.node
    if isinstance(node, Sequence):
        return Finding("SPC021", f"`{entry.path}` is swept over an empty list", at, help="write at least one value")
    if isinstance(node, Mapping):
        help_text = f"write whole paths, such as `{entry.path}.{next(iter(node.entries), 'key')}: [...]`"
        return Finding("SPC021", f"`{entry.path}` is swept over a mapping, not a list", at, help=help_text)
    help_text = f"write `[{node.text}]`" if node.text else "write at least one value, in brackets"
    return Finding("SPC021", f"`{entry.path}` is swept over one value, not a list", at, help=help_text)


def _meeting(swept: tuple[Swept, ...]) -> Iterator[Finding]:
    """Two entries of which one sets what the other sets."""
    known: dict[tuple[str, ...], Swept] = {}
    for entry in swept:
        twin = known.setdefault(parts_of(entry.path), entry)
        if twin is not entry:
            headline = f"`{entry.path}` is swept in `grid` and in `zip`"
            yield Finding("SPC023", headline, _keys(entry, twin), help="leave one of them out")
    for parts, entry in known.items():
        around = next((known[parts[:end]] for end in range(1, len(parts)) if parts[:end] in known), None)
        if around is not None:
            headline = f"`{entry.path}` is swept, and `{around.path}` around it as well"
            help_text = f"write `{parts[-1]}` into the values of `{around.path}`"
            yield Finding("SPC023", headline, _keys(entry, around), help=help_text)


def _keys(*swept: Swept) -> tuple[At, ...]:
    return tuple(At(entry.at, of_key=True) for entry in swept)


def _set_as_well(swept: tuple[Swept, ...], source: Source) -> Iterator[Finding]:
    """An override that every variant would overwrite."""
    for override in source.overrides:
        path, equals, _ = override.partition("=")
        inner = parts_of(path)
        for entry in swept:
            outer = parts_of(entry.path)
            if equals and inner[: len(outer)] == outer:
                help_text = f"set the list: `--set {SWEEP}.{entry.group}.{entry.path}=[...]`"
                headline = f"`{file_of(override)}` sets what the sweep sets in every variant"
                yield Finding("SPC023", headline, (At(entry.at, of_key=True),), help=help_text)


def _lengths(swept: tuple[Swept, ...]) -> Iterator[Finding]:
    zipped = [entry for entry in swept if entry.group == "zip"]
    odd = next((entry for entry in zipped if len(entry.items) != len(zipped[0].items)), None)
    if odd is not None:
        first = zipped[0]
        counts = (len(odd.items), len(first.items))
        headline = f"`{odd.path}` has {counts[0]} values, and `{first.path}` in the same `zip` has {counts[1]}"
        at = (At(odd.at, f"{counts[0]} values"), At(first.at, f"{counts[1]} values"))
        yield Finding("SPC022", headline, at, help="give them equally many, or sweep one of them in `grid`")
        return
    lengths = [len(entry.items) for entry in swept if entry.group == "grid"]
    lengths += [len(zipped[0].items)] if zipped else []
    if prod(lengths) > MOST_VARIANTS:
        product = f"{' x '.join(f'{length:,}' for length in lengths)} = {prod(lengths):,}"
        headline = f"the sweep has {prod(lengths):,} variants, and at most {MOST_VARIANTS:,} are made"
        places = (At((SWEEP,), of_key=True), *_keys(*swept))
        yield Finding("SPC025", headline, places, (product,) if len(lengths) > 1 else ())
