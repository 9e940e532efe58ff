"""A first spec: a preset under the user's own name, with a comment at every key that has room for one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from specc import resources
from specc.diagnostics import Span
from specc.source import read
from specc.source.reader import parse
from specc.source.tree import Mapping, Node, Scalar, Sequence, child
from specc.spec import language

SCHEMA = ".specc/specc.schema.json"
"""Where the schema lies, seen from the spec: editors find it by the spec's first line."""
_MODELINE = "# yaml-language-server:"
_WIDTH = 120


@dataclass(frozen=True)
class Preset:
    """A shipped spec that a new one can start from."""

    name: str
    text: str
    title: str
    """Its first comment."""

    @property
    def path(self) -> str | None:
        """Where its texts lie, if it reads one source; None where it reads none or several."""
        paths = _source_paths(parse(self.text, self.name))
        return paths[0].text if len(paths) == 1 else None


@dataclass(frozen=True)
class Machines:
    """Devices of one kind, by their name in the hardware catalogue."""

    device: str
    count: int

    @property
    def text(self) -> str:
        """The section `cluster`. More than eight devices are nodes of eight."""
        nodes, each = (1, self.count) if self.count <= 8 else (self.count // 8, 8)
        return f"cluster: {{device: {self.device}, nodes: {nodes}, devices_per_node: {each}}}\n"


def presets() -> dict[str, Preset]:
    """Whole specs among the shipped ones, by name, the small ones first."""
    files = (*sorted(resources.specs().glob("presets/*.yaml")), *sorted(resources.specs().glob("*.yaml")))
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    whole = (file for file, text in texts.items() if "stages" in parse(text, file.stem).entries)
    return {file.stem: Preset(file.stem, texts[file], _title(texts[file])) for file in sorted(whole, key=_width)}


def compose(preset: Preset, name: str, path: str | None = None, machines: Machines | None = None) -> str:
    """The text of the new spec. `path` and `machines` replace what the preset says."""
    root = parse(preset.text, preset.name)
    changes = [(root.entries["name"].node.span, name)]
    if path is not None:
        changes += [(node.span, f'"{_escaped(path)}"') for node in _source_paths(root)]
    text = _replaced(preset.text, changes)
    if machines is not None:
        text = _without_section(text, "cluster").rstrip("\n") + f"\n\n{machines.text}"
    body = "".join(line for line in text.splitlines(keepends=True) if not line.startswith(_MODELINE))
    return f"{_MODELINE} $schema={SCHEMA}\n{_commented(body, preset.name)}"


def _title(text: str) -> str:
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    return next((comment for comment in comments if f"# {comment}".partition(" $")[0] != _MODELINE), "")


def _width(file: Path) -> int:
    """The width of the model, which orders the presets from small to large."""
    model = child(read(file).root, "model")
    size = model.scalar("hidden_size") if isinstance(model, Mapping) else None
    return size if isinstance(size, int) else 0


def _source_paths(root: Mapping) -> list[Scalar]:
    """The path of every source; no list of paths, which is written by hand."""
    found: list[Scalar] = []
    for data in _entries(root, "data"):
        for source in _entries(data, "sources"):
            path = source.entries.get("path") if isinstance(source, Mapping) else None
            if path is not None and isinstance(path.node, Scalar):
                found.append(path.node)
    return found


def _entries(node: Node, key: str) -> list[Node]:
    entry = node.entries.get(key) if isinstance(node, Mapping) else None
    return [below.node for below in entry.node.entries.values()] if entry and isinstance(entry.node, Mapping) else []


def _replaced(text: str, changes: list[tuple[Span, str]]) -> str:
    lines = text.splitlines(keepends=True)
    for span, new in sorted(changes, reverse=True):
        line = lines[span.line - 1]
        lines[span.line - 1] = line[: span.column - 1] + new + line[span.end_column - 1 :]
    return "".join(lines)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace('"', '\\"')


def _without_section(text: str, key: str) -> str:
    return re.sub(rf"^{key}:.*\n(?:[ \t#].*\n|\n(?=[ \t]))*", "", text, flags=re.MULTILINE)


def _commented(text: str, name: str) -> str:
    """The meaning of the first key of each line behind it, where the line has no comment and is short enough."""
    root = parse(text, name)
    lines = text.splitlines()
    meanings = _meanings(root, root, ())
    column = max((len(lines[number - 1]) for number in meanings if len(lines[number - 1]) <= _WIDTH // 2), default=0)
    for number, meaning in meanings.items():
        line = lines[number - 1]
        choices = (f"{line:<{column}}  # {meaning}", f"{line}  # {meaning}")
        fitting = [commented for commented in choices if " #" not in line and len(commented) <= _WIDTH]
        lines[number - 1] = fitting[0] if fitting else line
    return "\n".join(lines) + "\n"


def _meanings(node: Node, root: Mapping, path: tuple[str | int, ...]) -> dict[int, str]:
    """What the first key of each line means, by the number of the line."""
    found: dict[int, str] = {}
    items: list[tuple[str | int, Node]] = []
    if isinstance(node, Mapping):
        items = [(key, entry.node) for key, entry in node.entries.items()]
        for key, entry in node.entries.items():
            meaning = language.describe((*path, key), root)
            if meaning is not None and key != "kind":
                found.setdefault(entry.key.line, meaning)
    elif isinstance(node, Sequence):
        items = list(enumerate(node.items))
    for part, below in items:
        for line, said in _meanings(below, root, (*path, part)).items():
            found.setdefault(line, said)
    return found


def schema_file(spec: Path) -> Path:
    """Where the schema of a spec is written."""
    return spec.parent / SCHEMA
