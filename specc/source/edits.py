"""Remedies as edits of text: a file is changed by spans, and reads afterwards as the remedy says, or stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from specc.diagnostics import Change, Edit, Fix, Remedy, Span
from specc.diagnostics.diagnostic import Path
from specc.source.reader import SpecErrors, parse
from specc.source.scalars import resolve
from specc.source.tree import Entry, Mapping, Node, Sequence, child, to_data

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
# What needs no quotes as a plain scalar, in block and in flow style.
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.%/ +-]*")


def fix_of(remedy: Remedy, root: Mapping, texts: dict[str, str]) -> Fix | None:
    """The edits of a remedy whose paths are those of the joined tree; None where text cannot be edited that way."""
    edits: list[Edit] = []
    changes: list[Change] = []
    for change in remedy.changes:
        made = _edits(change, root, texts)
        if made is None:
            return None
        edits += made[0]
        changes.append(made[1])
    files = {edit.span.file for edit in edits}
    fix = Fix(remedy.safe, tuple(edits), tuple(changes))
    if len(files) != 1 or applied(texts[next(iter(files))], next(iter(files)), (fix,)) is None:
        return None
    return fix


def applied(text: str, file: str, fixes: tuple[Fix, ...]) -> str | None:
    """The text with fixes that do not touch each other; None unless it reads as the fixes say."""
    changes = [change for fix in fixes for change in fix.changes]
    edited = _apply(text, [edit for fix in fixes for edit in fix.edits])
    try:
        before, after = to_data(parse(text, file)), to_data(parse(edited, file))
        return edited if _same(after, _intended(before, changes)) else None
    except (SpecErrors, LookupError):
        return None


def apart(fixes: tuple[Fix, ...]) -> tuple[Fix, ...]:
    """As many fixes, the first ones first, as can be applied at once."""
    kept: list[Fix] = []
    for fix in fixes:
        taken = [edit.span for other in kept for edit in other.edits]
        if not any(_touch(edit.span, span) for edit in fix.edits for span in taken):
            kept.append(fix)
    return tuple(kept)


def _same(one: Any, other: Any) -> bool:
    """Equal in value and type: 1 is not true."""
    return repr(_sorted(one)) == repr(_sorted(other))


def _sorted(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _sorted(data[key]) for key in sorted(data)}
    return tuple(_sorted(item) for item in data) if isinstance(data, tuple) else data


def _touch(one: Span, other: Span) -> bool:
    starts = ((one.line, one.column), (other.line, other.column))
    ends = ((one.end_line, one.end_column), (other.end_line, other.end_column))
    return one.file == other.file and (starts[0] == starts[1] or (starts[0] < ends[1] and starts[1] < ends[0]))


def _apply(text: str, edits: list[Edit]) -> str:
    starts = [0, *(match.end() for match in _BREAK.finditer(text))]

    def offset(line: int, column: int) -> int:
        return starts[line - 1] + column - 1 if line <= len(starts) else len(text)

    for edit in sorted(edits, key=lambda edit: (edit.span.line, edit.span.column), reverse=True):
        start, end = offset(edit.span.line, edit.span.column), offset(edit.span.end_line, edit.span.end_column)
        text = text[:start] + edit.text + text[end:]
    return text


def _intended(data: Any, changes: list[Change]) -> Any:
    """Plain data after the changes. Values and names are changed before entries move, as in one edit of the text."""
    for change in sorted(changes, key=lambda change: change.act != "replace"):
        *above, last = change.path
        if change.act == "replace":
            data = _with(data, change.path, resolve(change.text))
        elif change.act == "rename":
            section = _get(data, tuple(above))
            data = _with(data, tuple(above), {change.text if key == last else key: section[key] for key in section})
        else:
            value, section = _get(data, change.path), dict(_get(data, tuple(above)))
            del section[last]
            data = _with(data, tuple(above), section)
            if change.act == "move":
                data = _with(data, (*change.to, last), value)
    return data


def _get(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _with(data: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(first, int):
        return tuple(_with(item, rest, value) if index == first else item for index, item in enumerate(data))
    return {**data, first: _with(data[first] if rest else None, rest, value)}


def _edits(change: Change, root: Mapping, texts: dict[str, str]) -> tuple[list[Edit], Change] | None:
    """The edits of one change, and the change in paths of its file."""
    found = _find(root, change.path)
    if found is None:
        return None
    key, node = found
    of_name = change.act != "replace"
    file = (key if of_name and key is not None else node.span).file
    if file not in texts or file.startswith("--set "):
        return None
    tree = parse(texts[file], file)
    wanted = key if of_name else node.span
    places = [path for path, at, value in _walk(tree) if (at if of_name else value.span) == wanted]
    if wanted is None or len(places) != 1:
        # A value that aliases repeat is not one value.
        return None
    local, text = places[0], texts[file]
    if change.act == "move":
        return _moved(change, root, tree, local, text)
    if change.act == "delete":
        cut = _cut(tree, local, text)
        return None if cut is None else ([cut[0]], Change("delete", local))
    return [Edit(wanted, _quoted(change.text, _slice(text, wanted)))], Change(change.act, local, change.text)


def _find(root: Mapping, path: Path) -> tuple[Span | None, Node] | None:
    """Key (none for an item of a list) and value at a path."""
    node: Node | None = root
    key: Span | None = root.span
    for part in path:
        entry = node.entries.get(part) if isinstance(node, Mapping) and isinstance(part, str) else None
        key = entry.key if entry is not None else None
        node = child(node, part) if node is not None else None
    return None if node is None else (key, node)


def _walk(node: Node, above: Path = ()) -> Iterator[tuple[Path, Span | None, Node]]:
    parts: list[tuple[str | int, Span | None, Node]] = []
    if isinstance(node, Mapping):
        parts = [(key, entry.key, entry.node) for key, entry in node.entries.items()]
    elif isinstance(node, Sequence):
        parts = [(index, None, item) for index, item in enumerate(node.items)]
    for part, key, below in parts:
        yield (*above, part), key, below
        yield from _walk(below, (*above, part))


def _moved(change: Change, root: Mapping, tree: Mapping, local: Path, text: str) -> tuple[list[Edit], Change] | None:
    found, cut = _find(root, change.to), _cut(tree, local, text)
    if found is None or cut is None or not isinstance(found[1], Mapping) or not found[1].entries:
        return None
    targets = [path for path, _, value in _walk(tree) if value.span == found[1].span and isinstance(value, Mapping)]
    if len(targets) != 1:
        return None
    section = _find(tree, targets[0])
    assert section is not None
    assert isinstance(section[1], Mapping)
    put = _inserted(section[1], cut[1], text)
    return None if put is None else ([cut[0], put], Change("move", local, to=targets[0]))


def _cut(tree: Mapping, path: Path, text: str) -> tuple[Edit, str] | None:
    """The edit that removes an entry written on one line, and the entry with the comment behind it."""
    found, above = _find(tree, path), _find(tree, path[:-1])
    assert found is not None
    assert above is not None
    (key, node), section = found, above[1]
    if key is None or not isinstance(section, Mapping) or len(section.entries) < 2 or not _on_a_line(key, node, text):
        return None
    lines = _BREAK.split(text)
    written = lines[key.line - 1]
    end = node.span.end_column - 1
    entry = written[key.column - 1 : end]
    if _slice(text, section.span)[:1] == "{":
        return _cut_flow(section, key, node), entry
    if written[: key.column - 1].strip() or (written[end:].strip() and written[end:].strip()[0] != "#"):
        return None
    span = Span(key.file, key.line, 1, key.line + 1, 1)
    if key.line == len(lines):
        span = Span(key.file, key.line - 1, len(lines[key.line - 2]) + 1, key.line, len(written) + 1)
    return Edit(span, ""), written[key.column - 1 :].rstrip()


def _cut_flow(section: Mapping, key: Span, node: Node) -> Edit:
    """With the comma after the entry, or before the last one."""
    entries = list(section.entries.values())
    index = next(index for index, entry in enumerate(entries) if entry.key == key)
    if index + 1 < len(entries):
        after = entries[index + 1].key
        return Edit(Span(key.file, key.line, key.column, after.line, after.column), "")
    before: Entry = entries[index - 1]
    start = before.node.span
    return Edit(Span(key.file, start.end_line, start.end_column, key.line, node.span.end_column), "")


def _on_a_line(key: Span, node: Node, text: str) -> bool:
    flow = not isinstance(node, Mapping | Sequence) or _slice(text, node.span)[:1] in ("{", "[")
    return flow and key.line == node.span.line == node.span.end_line


def _inserted(section: Mapping, entry: str, text: str) -> Edit | None:
    """The entry as the last one of a flow section, or below the last line of a block section that ends on its line."""
    last = list(section.entries.values())[-1]
    end = last.node.span
    if _slice(text, section.span)[:1] == "{":
        if "#" in entry:
            # Behind a bracket a comment would swallow the rest of the line.
            return None
        return Edit(Span(end.file, end.end_line, end.end_column, end.end_line, end.end_column), f", {entry}")
    ends = [one for one in section.entries.values() if _on_a_line(one.key, one.node, text)]
    if not ends or ends[-1].key.file != section.span.file:
        return None
    line, column = ends[-1].key.line, ends[-1].key.column
    lines = _BREAK.split(text)
    newline = _newline(text)
    at = Span(end.file, line, len(lines[line - 1]) + 1, line, len(lines[line - 1]) + 1)
    return Edit(at, f"{newline}{lines[line - 1][: column - 1]}{entry}")


def _newline(text: str) -> str:
    found = _BREAK.search(text)
    return found[0] if found is not None else "\n"


def _slice(text: str, span: Span) -> str:
    lines = _BREAK.split(text)
    if span.line > len(lines):
        return ""
    line = lines[span.line - 1]
    return line[span.column - 1 : span.end_column - 1] if span.line == span.end_line else line[span.column - 1 :]


def _quoted(value: str, old: str) -> str:
    """The value as it is written: in the quotes that stood there, else in some where it needs them."""
    mark = old[:1] if old[:1] in ("'", '"') and old[-1:] == old[:1] else ""
    if mark or (_PLAIN.fullmatch(value) and not value.endswith(" ")):
        return f"{mark}{value}{mark}"
    return "'" + value.replace("'", "''") + "'"
