"""What would mend a mistake: a remedy is safe only where nobody could have meant anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from specc.diagnostics import Change, Remedy
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import is_surely
from specc.source.tree import Entry, Mapping, Node, child
from specc.spec import language
from specc.spec.synonyms import COUNTED, SYNONYMS

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


def rename_key(root: Mapping, path: Path, key: str, meant: str) -> Remedy | None:
    """The key under its right name, with the unit that the wrong one had; None where the right one is there as well."""
    section = _at(root, path)
    if not isinstance(section, Mapping) or _beside(section, meant, section.entries[key]):
        return None
    rename = Change("rename", (*path, key), meant)
    if SYNONYMS.get(key) != meant:
        return Remedy((rename,), safe=is_surely(key, meant, language.keys(path, root)))
    value = section.scalar(key)
    if key in COUNTED and isinstance(value, int) and not isinstance(value, bool):
        unit = COUNTED[key]
        counted = Change("replace", (*path, key), f"{value} {unit.removesuffix('s') if value == 1 else unit}")
        return Remedy((rename, counted), safe=True)
    return Remedy((rename,), safe=meant not in _OTHER_VALUES)


def replace_word(path: Path, written: str, near: str, choices: Iterable[str]) -> Remedy:
    """The near word in the place of the written one."""
    return Remedy((Change("replace", path, near),), safe=is_surely(written, near, choices))


def replace_value(path: Path, text: str) -> Remedy:
    """A value that says the same in the words of the language."""
    return Remedy((Change("replace", path, text),), safe=True)


def move_key(root: Mapping, path: Path, key: str, mistakes: Mistakes) -> Remedy | None:
    """The entry in the section of this spec that it belongs to; safe where that section takes it as it is."""
    sections = [section for section in language.places(key, root, path) if section != path]
    if not sections:
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
