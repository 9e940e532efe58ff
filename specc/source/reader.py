"""YAML text to a tree. Anything that YAML would accept in silence and a person would not is an error here."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from specc.diagnostics import Diagnostic, Label, Span
from specc.source.scalars import resolve
from specc.source.tree import Entry, Mapping, Node, Scalar, Sequence

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A spec has hundreds of values. Aliases that multiply, or nesting that exhausts the stack, are mistakes or attacks.
_MOST_NODES = 60_000
_DEEPEST = 60
_PLAIN = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "seq", "map")
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in _PLAIN)


class SpecErrors(Exception):
    """A spec that cannot be used, with everything that was found in it."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...], texts: ReadOnly[str, str] | None = None) -> None:
        super().__init__("\n".join(f"{d.code}: {d.headline}" for d in diagnostics))
        self.diagnostics = diagnostics
        self.texts = {} if texts is None else texts


def parse(text: str, file: str) -> Mapping:
    """The tree of one YAML document; SpecErrors with SPC001 or SPC002 when it is not one mapping."""
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
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SpecErrors((_syntax_error(error, file, text, column),)) from None
    except RecursionError:
        raise SpecErrors((_at_start(file, "the file nests too deeply to be a spec", column),)) from None
    if root is None:
        return None
    conversion = _Conversion(file, column)
    node = conversion.convert(root, 0)
    if conversion.errors:
        raise SpecErrors(tuple(conversion.errors))
    return node


@dataclass
class _Conversion:
    """One walk over PyYAML's nodes; collects every error on the way."""

    file: str
    column: int
    errors: list[Diagnostic] = field(default_factory=list)
    nodes: int = 0

    def convert(self, node: yaml.Node, depth: int) -> Node:
        span = self._span(node)
        self.nodes += 1
        if depth > _DEEPEST or self.nodes > _MOST_NODES:
            raise SpecErrors((_error("SPC001", "the file nests or repeats itself too much to be a spec", span),))
        if node.tag not in _PLAIN_TAGS:
            self.errors.append(_error("SPC001", f"`{node.tag}` is a tag, and specs have none", span))
        if isinstance(node, SequenceNode):
            return Sequence(tuple(self.convert(item, depth + 1) for item in node.value), span)
        if isinstance(node, MappingNode):
            return self._mapping(node, span, depth)
        assert isinstance(node, ScalarNode)
        value = node.value if node.style in ("'", '"', "|", ">") else resolve(node.value)
        return Scalar(value, node.value, span)

    def _mapping(self, node: MappingNode, span: Span, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        for key, value in node.value:
            where = self._span(key)
            if not isinstance(key, ScalarNode):
                self.errors.append(_error("SPC001", "a key is a word, not a list or a mapping", where))
                continue
            if key.value in entries:
                self._twice(key.value, entries[key.value].key, where)
                continue
            entries[key.value] = Entry(where, self.convert(value, depth + 1))
        return Mapping(entries, span)

    def _twice(self, key: str, first: Span, second: Span) -> None:
        labels = (Label(second, "written again here", primary=True), Label(first, "first here"))
        note = "YAML would silently keep the last one"
        self.errors.append(Diagnostic("SPC002", "error", f"`{key}` is written twice", labels, (note,)))

    def _span(self, node: yaml.Node) -> Span:
        start, end = node.start_mark, node.end_mark
        column = start.column + 1 + (self.column if start.line == 0 else 0)
        if isinstance(node, ScalarNode) or getattr(node, "flow_style", False):
            end_column = end.column + 1 + (self.column if end.line == 0 else 0)
            return Span(self.file, start.line + 1, column, end.line + 1, end_column)
        # A block collection ends where the next thing begins, which may be pages below: its first column stands for it.
        return Span(self.file, start.line + 1, column, start.line + 1, column + 1)


def _syntax_error(error: yaml.YAMLError, file: str, text: str, before: int) -> Diagnostic:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _at_start(file, f"this is not YAML: {str(error).splitlines()[0]}", before)
    # The parser may notice a mistake only at the end of the text, where there is no line to show.
    line = min(mark.line + 1, max(1, len(text.splitlines())))
    column = mark.column + 1 if line == mark.line + 1 else 1
    column += before if line == 1 else 0
    problem = str(getattr(error, "problem", None) or "unexpected text")
    context = getattr(error, "context", None)
    headline = f"this is not YAML: {problem}" + (f" {context}" if context else "")
    return _error("SPC001", headline, Span(file, line, column, line, column + 1))


def _error(code: str, headline: str, span: Span) -> Diagnostic:
    return Diagnostic(code, "error", headline, (Label(span, primary=True),))


def _at_start(file: str, headline: str, column: int = 0) -> Diagnostic:
    return _error("SPC001", headline, Span(file, 1, column + 1, 1, column + 2))
