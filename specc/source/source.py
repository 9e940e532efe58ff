"""A spec as it was written: files, presets and overrides joined into one tree."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field
from pathlib import Path

from specc import resources
from specc.diagnostics import Diagnostic, Finding, Fix, Label, Remedy, Span
from specc.diagnostics.diagnostic import Path as SpecPath
from specc.source import extends, overrides
from specc.source.reader import SpecErrors, parse
from specc.source.tree import Mapping, Node, child

BYTE_ORDER_MARK = "\ufeff"
_LARGEST = 2**20


@dataclass(frozen=True)
class Source:
    """The joined tree, the text of every file that took part (for quoting), and the overrides in their order."""

    file: str
    root: Mapping
    texts: ReadOnly[str, str]
    overrides: tuple[str, ...] = ()
    files: ReadOnly[str, Path] = field(default_factory=dict)
    """Where the files lie that took part, by the names under which `texts` has them."""
    asked: ReadOnly[str, Span] = field(default_factory=dict)
    """Where each preset was asked for first, by name of its file."""
    written: Mapping | None = None
    """The joined tree without the overrides; None where there are none, and where it cannot be read without them."""

    def chain(self, file: str) -> tuple[str, ...]:
        """The files from the spec to a preset, each extended by the one before it."""
        files = [file]
        while (asked := self.asked.get(files[0])) is not None and asked.file not in files:
            files.insert(0, asked.file)
        return tuple(files)

    def span(self, path: SpecPath, *, of_key: bool = False) -> Span:
        """Where a path was written: its value or its key, else the nearest mapping above it."""
        node: Node = self.root
        key = self.root.span
        for part in path:
            below = child(node, part)
            if below is None:
                return key if node is not self.root else Span(self.file, 1, 1, 1, 2)
            key = node.entries[part].key if isinstance(node, Mapping) and isinstance(part, str) else below.span
            node = below
        return key if of_key or isinstance(node, Mapping) else node.span

    def locate(self, finding: Finding) -> Diagnostic:
        """The diagnostic of a finding, its paths turned into places. A place is named once."""
        labels: list[Label] = []
        for index, at in enumerate(finding.at):
            span = self.span(at.path, of_key=at.of_key)
            if index and at.path and child(self.root, at.path[0]) is None:
                # Of a section that nobody wrote there is nothing to show.
                continue
            if all(label.span != span for label in labels):
                labels.append(Label(span, at.text, primary=index == 0))
        shown = tuple(labels)
        fix = None if finding.remedy is None else self._fix(finding.remedy)
        return Diagnostic(finding.code, finding.severity, finding.headline, shown, finding.notes, finding.help, fix)

    def _fix(self, remedy: Remedy) -> Fix | None:
        # Loaded here: a spec without mistakes needs no edits.
        from specc.source.edits import fix_of

        return fix_of(remedy, self.root, dict(self.texts))


def read(file: Path, sets: tuple[str, ...] = (), edited: ReadOnly[Path, str] | None = None) -> Source:
    """Read a spec with its presets and overrides; `edited` texts stand for files. SpecErrors when a part is no text."""
    return _read(file.resolve(), file.as_posix(), sets, edited or {})


def read_text(text: str, name: str, folder: Path) -> Source:
    """The same for a spec in no file: `name` is what diagnostics call it, `folder` where presets are looked for."""
    start = folder.resolve() / name
    return _read(start, name, (), {start: text})


def _read(start: Path, name: str, sets: tuple[str, ...], edited: ReadOnly[Path, str]) -> Source:
    texts: dict[str, str] = {}
    files: dict[str, Path] = {}
    asked: dict[str, Span] = {}

    def read_one(path: Path, place: Span) -> str:
        text = edited[path] if path in edited else _text(path, show(path))
        texts[show(path)] = text
        files[show(path)] = path
        if path != start:
            asked.setdefault(show(path), place)
        return text

    def show(path: Path) -> str:
        return name if path == start else _shown(path)

    try:
        root, written = _joined(start, sets, texts, show, read_one)
    except SpecErrors as errors:
        raise SpecErrors(errors.diagnostics, texts) from None
    return Source(name, root, texts, sets, files, asked, written)


def _joined(
    start: Path,
    sets: tuple[str, ...],
    texts: dict[str, str],
    show: Callable[[Path], str],
    read_text: extends.ReadText,
) -> tuple[Mapping, Mapping | None]:
    for override in sets:
        texts[overrides.file_of(override)] = override
    top = Span(show(start), 1, 1, 1, 2)
    own = tree = parse(read_text(start, top), show(start))
    # What is extended is set where it is written, as an edit of the file would: the file's own values stay above it.
    for override in filter(overrides.sets_extends, sets):
        tree = overrides.apply(tree, override)
    chain = extends.Chain((start,), (top,))
    root = joined = extends.expand(tree, chain, show, read_text)
    for override in sets:
        if overrides.sets_extends(override):
            continue
        assert isinstance(root, Mapping)
        root = extends.expand(overrides.apply(root, override), chain, show, read_text)
    assert isinstance(root, Mapping)
    if not sets:
        return root, None
    try:
        written = joined if tree is own else extends.expand(own, chain, show, read_text)
    except SpecErrors:
        # An override mended what could not be read.
        return root, None
    assert isinstance(written, Mapping)
    return root, written


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) <= _LARGEST:
            # Line ends stay as they are, for edits; a byte order mark is no part of the text.
            return data.decode("utf-8").removeprefix(BYTE_ORDER_MARK)
        problem = f"this file has more than {_LARGEST:,} bytes, and no spec does"
    except FileNotFoundError:
        problem = "there is no such file"
    except IsADirectoryError:
        problem = "this is a folder, not a spec"
    except PermissionError:
        problem = "this file may not be read"
    except UnicodeDecodeError as error:
        problem = f"byte {error.start:,} of this file is not UTF-8"
    except OSError as error:
        problem = f"this file cannot be read: {(error.strerror or 'unknown reason').lower()}"
    raise SpecErrors((Diagnostic("SPC001", "error", problem, (Label(Span(name, 1, 1, 1, 2), primary=True),)),))


def _shown(path: Path) -> str:
    """A preset as the user knows it: relative to the working folder, else to the shipped ones."""
    for base in (Path.cwd(), resources.specs()):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.as_posix()
