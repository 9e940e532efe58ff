"""YAML text as a tree in which every comment belongs to something."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, ScalarNode

_REFUSED = {
    yaml.AliasToken: "an alias",
    yaml.AnchorToken: "an anchor",
    yaml.TagToken: "a tag",
    yaml.DirectiveToken: "a directive",
    yaml.DocumentEndToken: "an end of document",
}
_BREAKS = re.compile("[\r\x85\u2028\u2029]")
_COMMENT = re.compile("#[^\n]*")


class FormatError(Exception):
    """A text that cannot be laid out without a loss; the message says what stands in the way."""


@dataclass
class Value:
    """A scalar or a collection. `start` and `end` are offsets, the end being that of what it holds."""

    shape: str
    """`scalar`, `mapping` or `sequence`."""
    start: int
    end: int
    column: int
    style: str = ""
    """The quote or block sign of a scalar, `flow` or `block` of a collection."""
    text: str = ""
    """What a scalar says, escapes resolved."""
    raw: str = ""
    """How a scalar is written."""
    members: list[Member] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)
    """Comments after the last member."""

    @property
    def is_block(self) -> bool:
        """Whether its members stand on lines of their own."""
        return self.style == "block"


@dataclass
class Member:
    """An entry of a mapping, or an item of a sequence, with the comments that are about it."""

    key: Value | None
    value: Value
    start: int
    column: int
    leading: list[str] = field(default_factory=list)
    """Comments on lines before it; an empty one is a blank line."""
    trailing: str = ""
    """The comment on its own line."""


def read_document(text: str) -> Value:
    """The tree of a text that the reader has found sound; FormatError for what a layout cannot keep."""
    found = _BREAKS.search(text)
    if found:
        raise FormatError(f"line {text.count(chr(10), 0, found.start()) + 1} has a line break other than a newline")
    tokens = list(yaml.scan(text, Loader=yaml.SafeLoader))
    for token in tokens:
        if type(token) in _REFUSED:
            raise FormatError(
                f"line {token.start_mark.line + 1} has {_REFUSED[type(token)]}, which `fmt` does not write"
            )
    dashes = [token.start_mark.index for token in tokens if isinstance(token, yaml.BlockEntryToken)]
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None, "the reader refuses an empty text"
    root = _Conversion(text, dashes).convert(node)
    _Attachment(text, root).attach(list(comments(text, tokens)))
    return root


def comments(text: str, tokens: list[yaml.Token] | None = None) -> Iterator[tuple[int, str]]:
    """Every comment with its offset: what begins with `#` between tokens, and after the sign of a block scalar."""
    end = 0
    for token in tokens if tokens is not None else yaml.scan(text, Loader=yaml.SafeLoader):
        for match in _COMMENT.finditer(text, end, max(end, token.start_mark.index)):
            yield match.start(), match[0].rstrip()
        end = max(end, token.end_mark.index)
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            head, sign, comment = text[token.start_mark.index :].partition("\n")[0].partition("#")
            if sign:
                yield token.start_mark.index + len(head), f"#{comment}".rstrip()
    for match in _COMMENT.finditer(text, end):
        yield match.start(), match[0].rstrip()


@dataclass(frozen=True)
class _Conversion:
    """PyYAML's nodes to ours. `dashes` are the offsets of the signs of block sequences."""

    text: str
    dashes: list[int]

    def convert(self, node: yaml.Node) -> Value:
        start, end, column = node.start_mark.index, node.end_mark.index, node.start_mark.column
        if isinstance(node, ScalarNode):
            raw = self.text[start:end].rstrip(" \t\r\n")
            return Value("scalar", start, start + len(raw), column, node.style or "", node.value, raw)
        shape = "mapping" if isinstance(node, MappingNode) else "sequence"
        value = Value(shape, start, end, column, "flow" if getattr(node, "flow_style", False) else "block")
        value.members = [self._member(value, each) for each in node.value]
        if value.is_block:
            value.end = value.members[-1].value.end
        if value.is_block and shape == "sequence":
            value.column = value.members[0].column
        return value

    def _member(self, parent: Value, node: yaml.Node | tuple[ScalarNode, yaml.Node]) -> Member:
        if isinstance(node, tuple):
            key, value = self.convert(node[0]), self.convert(node[1])
            value.end = max(value.end, key.end)
            return Member(key, value, key.start, key.column)
        value = self.convert(node)
        start = value.start
        if parent.is_block:
            start = self.dashes[bisect_left(self.dashes, value.start) - 1]
        return Member(None, value, start, start - self.text.rfind("\n", 0, start) - 1)


class _Attachment:
    """Gives every comment to a member or a collection, and blank lines to what they stand before."""

    def __init__(self, text: str, root: Value) -> None:
        self.text = text
        self.root = root
        self.members: list[Member] = []
        self.around: list[tuple[Value, ...]] = []
        """For each member, the collections that it stands in, the outermost first."""
        self._walk(root, ())

    def attach(self, found: list[tuple[int, str]]) -> None:
        """In the order of the text."""
        events = self._events()
        offsets = [offset for offset, _ in events]
        for offset, comment in found:
            if self._line_before(offset).strip():
                member = events[bisect_left(offsets, offset) - 1][1]
                # A member has one line, and so one comment behind it.
                member.leading += [member.trailing] if member.trailing else []
                member.trailing = comment
            else:
                blank = [""] if self._after_blank(offset) else []
                self._own_line(offset).extend([*blank, comment])
        for member, around in zip(self.members, self.around, strict=True):
            # Before the first thing of a section a blank line says something only where it follows a comment.
            stands_alone = member is around[-1].members[0] and not member.leading
            if around[-1].is_block and not stands_alone and self._after_blank(member.start):
                member.leading.append("")

    def _walk(self, value: Value, around: tuple[Value, ...]) -> None:
        for member in value.members:
            self.members.append(member)
            self.around.append((*around, value))
            self._walk(member.value, (*around, value))

    def _events(self) -> list[tuple[int, Member]]:
        """Where members begin and end: a comment at the end of a line is about the last of these."""
        starts = [(member.start, member) for member in self.members]
        ends = [(member.value.end, member) for member in self.members if not member.value.is_block]
        return sorted(starts + ends, key=lambda event: event[0])

    def _own_line(self, offset: int) -> list[str]:
        """The lines before or after which a comment stands that has a line of its own."""
        index = bisect_left([member.start for member in self.members], offset)
        following = self.members[index] if index < len(self.members) else None
        around = self.around[index - 1] + (self.members[index - 1].value,) if index else (self.root,)
        if index and not self.members[index - 1].value.is_block and self.members[index - 1].value.start > offset:
            return self.members[index - 1].leading
        flow = next((v for v in reversed(around) if v.style == "flow" and v.start < offset < v.end), None)
        if flow is not None and not flow.members and index:
            return self.members[index - 1].leading
        if flow is not None:
            inside = following is not None and following in flow.members
            return following.leading if following is not None and inside else flow.closing
        column = len(self._line_before(offset))
        least = -1 if following is None else following.column
        ended = [value for value in around if value.is_block and least < value.column <= column]
        if ended:
            return ended[-1].closing
        return self.root.closing if following is None else following.leading

    def _line_before(self, offset: int) -> str:
        return self.text[self.text.rfind("\n", 0, offset) + 1 : offset]

    def _after_blank(self, offset: int) -> bool:
        """Whether the line before that of an offset is blank, and not the first thing of the text."""
        start = self.text.rfind("\n", 0, offset)
        before = self.text.rfind("\n", 0, max(start, 0))
        return start > 0 and not self.text[before + 1 : start].strip() and bool(self.text[:start].strip())
