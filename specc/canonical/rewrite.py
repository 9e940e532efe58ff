"""A spec in its one layout: keys in the order of the language, two blanks a level, lines of at most 120 columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from specc.canonical.document import FormatError, Member, Value, comments, read_document
from specc.canonical.words import is_plain, same, spell
from specc.source.reader import parse
from specc.source.tree import Mapping, Node, Scalar, Sequence, child
from specc.spec import language

WIDTH = 120
# What may end a line without a meaning in YAML; other white space, such as a no-break space, is text.
_BLANKS = " \t"
_FIRST = ("extends", "kind", "from")
"""What tells the rest of a section how to be read comes before it."""
_HEADER = re.compile(r"[|>][-+]?")


def format_text(text: str, file: str) -> str:
    """The canonical text. SpecErrors where it is no YAML, FormatError where a layout would lose something."""
    text = text.removeprefix("\ufeff")
    tree = parse(text, file)
    written = _Writer().document(read_document(text), tree)
    again = parse(written, file)
    kept = sorted(comment for _, comment in comments(text)) == sorted(comment for _, comment in comments(written))
    if not kept or not _same(tree, again):
        raise FormatError("its layout cannot be changed without changing what it says")
    return written


def _same(one: Node | None, other: Node | None) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if set(one.entries) != set(other.entries):
            return False
        return all(_same(entry.node, other.entries[key].node) for key, entry in one.entries.items())
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        return len(one.items) == len(other.items) and all(map(_same, one.items, other.items))
    return isinstance(one, Scalar) and isinstance(other, Scalar) and same(one.value, other.value)


@dataclass(frozen=True)
class _Place:
    """Where a value stands: what may stand there, and what the reader found."""

    options: list[Any]
    node: Node | None

    def below(self, part: str | int) -> _Place:
        return _Place(
            language.below(self.options, self.node, part), None if self.node is None else child(self.node, part)
        )


class _Writer:
    """Members to lines. Every method gives lines without a newline."""

    def document(self, root: Value, tree: Mapping) -> str:
        header: list[str] = []
        if root.members:
            first = root.members[0].leading
            end = first.index("") + 1 if "" in first else len(first)
            header, first[:] = first[:end], first[end:]
        lines = self.block(root, 0, _Place(language.section_of(tuple(tree.entries)), tree))
        if root.style == "flow" and not root.members:
            lines = ["{}", *lines]
        return "\n".join(line.rstrip(_BLANKS) for line in [*header, *lines]) + "\n"

    def block(self, value: Value, indent: int, place: _Place) -> list[str]:
        """A collection on lines of its own."""
        margin, lines = " " * indent, list[str]()
        for part, member in self._ordered(value, place):
            leading = member.leading[:]
            while leading and not leading[0] and not lines:
                del leading[0]
            lines += [f"{margin}{comment}".rstrip(_BLANKS) for comment in leading]
            below = place.below(part)
            lines += self._entry(member, indent, below) if member.key else self._item(member, indent, below)
        closing = value.closing[1:] if value.closing[:1] == [""] and not lines else value.closing
        return lines + [f"{margin}{comment}".rstrip(_BLANKS) for comment in closing]

    def _ordered(self, value: Value, place: _Place) -> list[tuple[str | int, Member]]:
        """Items as they are; keys as the language has them, and names of the user and unknown keys as they are."""
        if value.shape == "sequence":
            return list(enumerate(value.members))
        known = language.order(place.options, place.node)
        ranks = {key: rank for rank, key in enumerate([*_FIRST, *(key for key in known if key not in _FIRST)])}
        ranks = ranks if known else {}
        members = [(member.key.text if member.key else "", member) for member in value.members]
        return [*sorted(members, key=lambda pair: ranks.get(pair[0], len(ranks)))]

    def _entry(self, member: Member, indent: int, place: _Place) -> list[str]:
        assert member.key is not None
        return self._headed(f"{' ' * indent}{_key(member.key)}:", member, indent + 2, place)

    def _item(self, member: Member, indent: int, place: _Place) -> list[str]:
        """A dash and the value behind it; comments before the first line of the value stand before the dash."""
        margin = " " * indent
        inline = self._inline(member.value, place)
        if member.value.shape == "scalar" or self._fits(f"{margin}-", member, inline):
            return self._headed(f"{margin}-", member, indent + 2, place)
        lines = self.block(member.value, indent + 2, place)
        before = next(index for index, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#"))
        moved = [f"{margin}{line.strip()}" for line in ([member.trailing] if member.trailing else []) + lines[:before]]
        return [*moved, f"{margin}- {lines[before].lstrip()}", *lines[before + 1 :]]

    def _headed(self, head: str, member: Member, indent: int, place: _Place) -> list[str]:
        """What stands before a value, the value, and the comment behind it."""
        value, trailing = member.value, f"  {member.trailing}" if member.trailing else ""
        if value.style in ("|", ">"):
            sign, lines = _block_scalar(value, indent)
            return [f"{head} {sign}{trailing}", *lines]
        inline = self._inline(value, place)
        if value.shape == "scalar" or self._fits(head, member, inline):
            return [f"{head} {inline}".rstrip(_BLANKS) + trailing]
        return [head + trailing, *self.block(value, indent, place)]

    def _fits(self, head: str, member: Member, inline: str | None) -> bool:
        return inline is not None and (len(head) + 1 + len(inline) <= WIDTH or not member.value.members)

    def _inline(self, value: Value, place: _Place) -> str | None:
        """A value on one line; None where its author gave it several, or comments."""
        if value.shape == "scalar":
            return spell(value.text, value.raw, value.style, place.options)
        if value.is_block or value.closing or any(member.leading or member.trailing for member in value.members):
            return None
        parts = []
        for part, member in self._ordered(value, place):
            text = self._inline(member.value, place.below(part))
            if text is None:
                return None
            parts.append(f"{_key(member.key)}: {text}".rstrip(_BLANKS) if member.key else text)
        return f"{{{', '.join(parts)}}}" if value.shape == "mapping" else f"[{', '.join(parts)}]"


def _key(key: Value) -> str:
    if key.style in ("'", '"'):
        return key.text if is_plain(key.text) else key.raw
    return key.raw


def _block_scalar(value: Value, indent: int) -> tuple[str, list[str]]:
    """The sign of a block scalar, and its lines at another indent."""
    head, _, body = value.raw.partition("\n")
    sign = head.partition("#")[0].strip()
    lines = body.split("\n")
    depth = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
    first = next((line for line in lines if line.strip()), "")
    if not _HEADER.fullmatch(sign) or "+" in sign or len(first) - len(first.lstrip(" ")) != depth:
        raise FormatError("a block scalar that says how it is indented, or keeps its last blank lines, stays as it is")
    return sign, [f"{' ' * indent}{line[depth:]}" if line.strip() else "" for line in lines]


def changes(before: str, after: str, file: str) -> Iterator[str]:
    """A unified diff."""
    from difflib import unified_diff

    names = (file, f"{file} (canonical)")
    yield from unified_diff(before.splitlines(), after.splitlines(), *names, lineterm="")
