"""What would mend a mistake: a remedy is safe only where nobody could have meant anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from specc.diagnostics import Change, Remedy
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import is_surely
from specc.source.tree import Entry, Mapping, Node, Sequence, child
from specc.spec import language
from specc.spec.synonyms import COUNTED, FOREIGN, SYNONYMS

# A synonym of these may be counted in something else, or name its values otherwise.
_OTHER_VALUES = frozenset(
    {
        "activation_checkpointing",
        "device",
        "duration",
        "from",
        "global_batch_size",
        "gradient_accumulation_steps",
        "micro_batch_size",
        "path",
        "precision",
        "targets",
        "time_limit",
        "warmup",
        "zero_stage",
    }
)

Mistakes = Callable[[Mapping], int]
"""How many mistakes a tree has."""
Refused = Callable[[Node, Path], bool]
"""Whether a tree has a value at a path that cannot stand there."""


def rename_key(root: Mapping, path: Path, key: str, meant: str, refused: Refused) -> Remedy | None:
    """The key under its right name, with the unit that the wrong one had; None where the right one is there as well."""
    section = _at(root, path)
    if not isinstance(section, Mapping) or key not in section.entries:
        return None
    if _beside(section, meant, section.entries[key]):
        return None
    rename = Change("rename", (*path, key), meant)
    value = section.scalar(key)
    if SYNONYMS.get(key) == meant and key in COUNTED and isinstance(value, int) and not isinstance(value, bool):
        unit = COUNTED[key]
        counted = Change("replace", (*path, key), f"{value} {unit.removesuffix('s') if value == 1 else unit}")
        return Remedy((rename, counted), safe=True)
    sure = is_surely(key, meant, language.keys(path, root))
    safe = meant not in _OTHER_VALUES if SYNONYMS.get(key) == meant else sure
    # A value of another shape was written for another key.
    return Remedy((rename,), safe=safe and not refused(_renamed(root, (*path, key), meant), (*path, meant)))


def replace_word(path: Path, written: str, near: str, choices: Iterable[str]) -> Remedy:
    """The near word in the place of the written one."""
    safe = written.lower() not in FOREIGN and is_surely(written, near, choices)
    return Remedy((Change("replace", path, near),), safe=safe)


def replace_value(path: Path, text: str) -> Remedy:
    """A value that says the same in the words of the language."""
    return Remedy((Change("replace", path, text),), safe=True)


def move_key(root: Mapping, path: Path, key: str, mistakes: Mistakes) -> Remedy | None:
    """The entry in the section of this spec that it belongs to; safe where that section takes it as it is."""
    sections = [section for section in language.places(key, root, path) if section != path]
    # Nearer than any that is written may lie one that is not.
    if not sections or language.where(key, root, path)[0] != language.under(sections[0]):
        return None
    target, section = _at(root, sections[0]), _at(root, path)
    in_list = any(isinstance(part, int) for part in (*path, *sections[0]))
    if not isinstance(target, Mapping) or not isinstance(section, Mapping) or in_list:
        return None
    if _beside(target, key, section.entries[key]):
        return None
    moved = _without(_with(root, (*sections[0], key), section.entries[key].node), (*path, key))
    # With two sections that could have it, or a value that is wrong there, a person decides.
    safe = len(sections) == 1 and mistakes(moved) < mistakes(root)
    return Remedy((Change("move", (*path, key), to=sections[0]),), safe=safe)


def _beside(section: Mapping, key: str, entry: Entry) -> bool:
    """Whether a section has a key in the same file as an entry; that of a preset would lie below it."""
    there = section.entries.get(key)
    return there is not None and there.key.file == entry.key.file


def _at(root: Mapping, path: Path) -> Node | None:
    node: Node | None = root
    for part in path:
        node = child(node, part) if node is not None else None
    return node


def _renamed(node: Node, path: Path, name: str) -> Node:
    first, rest = path[0], path[1:]
    if isinstance(node, Sequence):
        items = [_renamed(item, rest, name) if index == first else item for index, item in enumerate(node.items)]
        return Sequence(tuple(items), node.span)
    assert isinstance(node, Mapping)
    entry = node.entries[str(first)]
    if rest:
        below = Entry(entry.key, _renamed(entry.node, rest, name))
        return Mapping({**node.entries, str(first): below}, node.span)
    others = {key: other for key, other in node.entries.items() if key not in (first, name)}
    return Mapping({**others, name: entry}, node.span)


def _with(node: Node, path: Path, value: Node) -> Mapping:
    assert isinstance(node, Mapping)
    first, rest = str(path[0]), path[1:]
    entry = node.entries.get(first, Entry(node.span, value))
    below = _with(entry.node, rest, value) if rest else value
    return Mapping({**node.entries, first: Entry(entry.key, below)}, node.span)


def _without(node: Node, path: Path) -> Mapping:
    assert isinstance(node, Mapping)
    first, rest = str(path[0]), path[1:]
    if not rest:
        return Mapping({key: entry for key, entry in node.entries.items() if key != first}, node.span)
    entry = node.entries[first]
    return Mapping({**node.entries, first: Entry(entry.key, _without(entry.node, rest))}, node.span)
