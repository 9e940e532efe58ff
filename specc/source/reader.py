"""YAML text to a tree. Anything that YAML would accept in silence and a person would not is an error here."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from specc.diagnostics import Diagnostic, Label, Span
from specc.diagnostics.render import render
from specc.source.scalars import resolve
from specc.source.syntax import FORBIDDEN, say_forbidden, say_syntax
from specc.source.tree import Entry, Mapping, Node, Scalar, Sequence

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A spec has hundreds of values. Aliases that multiply, or nesting that exhausts the stack, are mistakes or attacks.
_MOST_NODES = 60_000
_DEEPEST = 60
_MERGE = "<<"
_PLAIN = ("str", "int", "float", "bool", "null", "timestamp", "seq", "map")
_PLAIN_TAGS = frozenset(("!", *(f"tag:yaml.org,2002:{name}" for name in _PLAIN)))
_QUOTED = ("'", '"', "|", ">")


class SpecErrors(Exception):
    """A spec that cannot be used, with everything that was found in it."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...], texts: ReadOnly[str, str] | None = None) -> None:
        super().__init__(diagnostics)
        self.diagnostics = diagnostics
        self.texts = {} if texts is None else texts

    def __str__(self) -> str:
        """Every diagnostic as `specc check` shows it."""
        return render(self.diagnostics, self.texts, "full")


def parse(text: str, file: str) -> Mapping:
    """The tree of one YAML document; SpecErrors with SPC001, SPC002 or SPC019 when it is not one plain mapping."""
    node = _tree(text, file, 0)
    if node is None:
        raise SpecErrors((_at_start(file, "the file is empty: expected keys such as `specc: 1`"),))
    if not isinstance(node, Mapping):
        raise SpecErrors((_at_start(file, "a spec is a mapping of keys to values"),))
    return node


def parse_value(text: str, file: str, column: int) -> Node:
    """The tree of one value that stands after `column` characters of `--set`; SpecErrors when it is not YAML."""
    node = _tree(text, file, column)
    return node if node is not None else Scalar(None, text, Span(file, 1, column + 1, 1, column + 1))


def _tree(text: str, file: str, column: int) -> Node | None:
    """The tree of a text whose first line begins after `column` characters; None when the text says nothing."""
    forbidden = FORBIDDEN.search(text)
    if forbidden is not None:
        raise SpecErrors((say_forbidden(text, forbidden.start(), file, column),))
    building = _Building(file, column, yaml.parse(text, Loader=_Loader))
    try:
        node = building.document()
    except yaml.YAMLError as error:
        raise SpecErrors((*building.errors, say_syntax(error, file, text, column))) from None
    if building.errors:
        raise SpecErrors(tuple(building.errors))
    return node


@dataclass
class _Anchor:
    """What an alias stands for; None while it is being read."""

    place: Span
    node: Node | None = None
    nodes: int = 0


@dataclass
class _Building:
    """One walk over the events of a parser; collects every error on the way, and stops where going on is pointless."""

    file: str
    column: int
    events: Iterator[Any]
    errors: list[Diagnostic] = field(default_factory=list)
    nodes: int = 0
    anchors: dict[str, _Anchor] = field(default_factory=dict)

    def document(self) -> Node | None:
        """The one document of the stream; None when there is none."""
        node = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    raise SpecErrors((*self.errors, self._second(event)))
                self._check_directives(event)
                node = self._node(next(self.events), 0)
        return node

    def _node(self, event: Any, depth: int) -> Node:
        span = self._span(event)
        self._count(1, span, depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor, span, depth)
        if event.tag is not None and event.tag not in _PLAIN_TAGS:
            self.errors.append(_error("SPC001", f"`{event.tag}` is a tag, and specs have none", span))
        before, anchor = self.nodes, self._anchor(event.anchor, span)
        node = self._content(event, span, depth)
        if anchor is not None:
            anchor.node, anchor.nodes = node, self.nodes - before
        return node

    def _content(self, event: Any, span: Span, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style in _QUOTED else resolve(event.value)
            return Scalar(value, event.value, span)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(event, span, depth)
        items = []
        while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        return Sequence(tuple(items), self._whole(span, event, inner))

    def _mapping(self, event: Any, span: Span, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        while not isinstance(key := next(self.events), yaml.MappingEndEvent):
            where = self._span(key)
            name = self._key(key, where, depth)
            node = self._node(next(self.events), depth + 1)
            if name is None:
                continue
            if name in entries:
                self._twice(name, entries[name].key, where)
                continue
            entries[name] = Entry(where, node)
        return Mapping(entries, self._whole(span, event, key))

    def _key(self, event: Any, where: Span, depth: int) -> str | None:
        """The word of a key; None, and an error, when it is anything else."""
        if not isinstance(event, yaml.ScalarEvent):
            if not isinstance(event, yaml.AliasEvent):
                self._node(event, depth + 1)
            what = "an alias" if isinstance(event, yaml.AliasEvent) else "a list or a mapping"
            self.errors.append(_error("SPC001", f"a key is a word, not {what}", where))
            return None
        if event.anchor is not None or (event.tag is not None and event.tag not in _PLAIN_TAGS):
            mark = f"&{event.anchor}" if event.anchor is not None else event.tag
            self.errors.append(_error("SPC001", f"a key is a plain word, and this one carries `{mark}`", where))
        if event.value == _MERGE and event.style not in _QUOTED:
            self.errors.append(_merge(where))
            return None
        return str(event.value)

    def _anchor(self, name: str | None, span: Span) -> _Anchor | None:
        if name is None:
            return None
        if name in self.anchors:
            labels = (Label(span, "again here", primary=True), Label(self.anchors[name].place, "first here"))
            self.errors.append(Diagnostic("SPC001", "error", f"the anchor `&{name}` is set twice", labels))
        self.anchors[name] = _Anchor(span)
        return self.anchors[name]

    def _alias(self, name: Any, span: Span, depth: int) -> Node:
        anchor = self.anchors.get(name)
        if anchor is None:
            self.errors.append(_error("SPC001", f"there is no anchor `&{name}` above this alias", span))
            return Scalar(None, "", span)
        if anchor.node is None:
            labels = (Label(span, "the alias", primary=True), Label(anchor.place, "what it names begins here"))
            self.errors.append(Diagnostic("SPC001", "error", f"the alias `*{name}` stands in what it names", labels))
            return Scalar(None, "", span)
        self._count(anchor.nodes, span, depth)
        return replace(anchor.node, span=span)

    def _count(self, nodes: int, span: Span, depth: int) -> None:
        self.nodes += nodes
        if depth > _DEEPEST:
            headline = f"this nests more than {_DEEPEST} levels deep, and no spec does"
            raise SpecErrors((*self.errors, _error("SPC001", headline, span)))
        if self.nodes > _MOST_NODES:
            headline = f"up to here the file says more than {_MOST_NODES:,} values, and no spec does"
            raise SpecErrors((*self.errors, _error("SPC001", headline, span)))

    def _twice(self, key: str, first: Span, second: Span) -> None:
        labels = (Label(second, "written again here", primary=True), Label(first, "first here"))
        note = "YAML would silently keep the last one"
        self.errors.append(Diagnostic("SPC002", "error", f"`{key}` is written twice", labels, (note,)))

    def _second(self, event: Any) -> Diagnostic:
        help_text = "keep each spec in a file of its own"
        span = self._span(event)
        return _error("SPC001", "a second document begins here, and a spec is one document", span, help_text)

    def _check_directives(self, event: Any) -> None:
        span = Span(self.file, 1, 1, 1, 2)
        if event.version is not None and event.version != (1, 2):
            asked = ".".join(str(part) for part in event.version)
            headline = f"`%YAML {asked}` asks for other rules than a spec has, which are those of YAML 1.2"
            self.errors.append(_error("SPC001", headline, span, "leave the line out"))
        if event.tags:
            self.errors.append(_error("SPC001", "`%TAG` declares tags, and specs have none", span))

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        end_line, end_column = end.line + 1, end.column + 1 + (self.column if end.line == 0 else 0)
        column = start.column + 1 + (self.column if start.line == 0 else 0)
        return Span(self.file, start.line + 1, column, end_line, end_column)

    def _whole(self, span: Span, start: Any, end: Any) -> Span:
        """A flow collection up to its bracket; a block one ends pages below, so its first column stands for it."""
        if start.flow_style:
            last = self._span(end)
            return replace(span, end_line=last.end_line, end_column=last.end_column)
        return replace(span, end_line=span.line, end_column=span.column + 1)


def _merge(where: Span) -> Diagnostic:
    help_text = "lay a preset below this section with `extends: file.yaml`, or write the keys out"
    note = "merge keys are YAML 1.1; YAML 1.2 has none, so other readers would see a key of that name"
    label = Label(where, primary=True)
    return Diagnostic("SPC019", "error", "`<<` is a merge key, and specs have none", (label,), (note,), help_text)


def _error(code: str, headline: str, span: Span, help_text: str | None = None) -> Diagnostic:
    return Diagnostic(code, "error", headline, (Label(span, primary=True),), help=help_text)


def _at_start(file: str, headline: str) -> Diagnostic:
    return _error("SPC001", headline, Span(file, 1, 1, 1, 2))
