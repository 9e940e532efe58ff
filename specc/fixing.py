"""Safe fixes applied to the files that they stand in, until none remains; written only at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from tempfile import NamedTemporaryFile

from specc import resources
from specc.diagnostics import Diagnostic, Fix
from specc.driver import Outcome
from specc.source import Source, SpecErrors, read
from specc.source.edits import apart, applied
from specc.source.source import BYTE_ORDER_MARK

_ROUNDS = 100

Check = Callable[[Source], Outcome]


@dataclass(frozen=True)
class Fixed:
    """What came of the fixes: the files that change, how many mistakes that mended, and what is left."""

    outcome: Outcome
    before: dict[Path, str]
    after: dict[Path, str]
    names: dict[Path, str]
    mended: int
    refused: tuple[str, ...]
    """Why a safe fix was not applied, a sentence each."""

    @property
    def changed(self) -> tuple[Path, ...]:
        """Files whose text is another one now."""
        return tuple(path for path, text in self.after.items() if text != self.before[path])


def fix(spec: Path, sets: tuple[str, ...], check: Check) -> Fixed:
    """The texts of a spec and of its presets after all safe fixes; nothing is written."""
    before: dict[Path, str] = {}
    after: dict[Path, str] = {}
    names: dict[Path, str] = {}
    refused: tuple[str, ...] = ()
    mended = 0
    for _ in range(_ROUNDS):
        try:
            source = read(spec, sets, after)
        except SpecErrors as errors:
            outcome = Outcome((), errors.diagnostics, errors.texts)
            return Fixed(outcome, before, after, names, mended, refused)
        outcome = check(source)
        for name, path in source.files.items():
            before.setdefault(path, source.texts[name])
            names[path] = name
        count, texts, refused = _round(source, outcome.diagnostics, spec)
        if not count:
            break
        mended += count
        after |= texts
    return Fixed(outcome, before, after, names, mended, refused)


def diff(fixed: Fixed) -> str:
    """A unified diff of every file that changes."""
    shown = []
    for path in fixed.changed:
        old, new = (text.splitlines(keepends=True) for text in (fixed.before[path], fixed.after[path]))
        lines = unified_diff(old, new, fixed.names[path], fixed.names[path])
        shown += [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
    return "".join(shown).replace("\r\n", "\n")


def write(fixed: Fixed) -> None:
    """Write the files that change, each in one step. ValueError when one changed since it was read, and OSError."""
    marks = {}
    for path in fixed.changed:
        there = path.read_bytes().decode("utf-8")
        marks[path] = BYTE_ORDER_MARK if there.startswith(BYTE_ORDER_MARK) else ""
        if there.removeprefix(BYTE_ORDER_MARK) != fixed.before[path]:
            raise ValueError(f"{fixed.names[path]} changed while it was being fixed")
    for path in fixed.changed:
        _replace(path, f"{marks[path]}{fixed.after[path]}".encode())


def _round(
    source: Source, diagnostics: tuple[Diagnostic, ...], spec: Path
) -> tuple[int, dict[Path, str], tuple[str, ...]]:
    by_file: dict[str, list[Fix]] = {}
    for diagnostic in diagnostics:
        if diagnostic.fix is not None and diagnostic.fix.safe:
            by_file.setdefault(diagnostic.fix.edits[0].span.file, []).append(diagnostic.fix)
    count, texts, refused = 0, {}, []
    for name, found in by_file.items():
        path = source.files[name]
        if not _is_users(path, spec):
            refused.append(f"{name} is left as it is: it lies neither beside {spec} nor below this folder")
            continue
        made, text = _apply(name, source.texts[name], apart(tuple(dict.fromkeys(found))))
        count += made
        if made:
            texts[path] = text
    return count, texts, tuple(refused)


def _apply(name: str, text: str, fixes: tuple[Fix, ...]) -> tuple[int, str]:
    """All at once; the first one alone where together they do not read as they say."""
    edited = applied(text, name, fixes)
    if edited is not None:
        return len(fixes), edited
    alone = applied(text, name, fixes[:1])
    return (0, text) if alone is None else (1, alone)


def _is_users(path: Path, spec: Path) -> bool:
    """Whether a file is the spec, or a preset that lies beside it or below the working folder, and not specc's."""
    start, shipped = spec.resolve(), resources.specs().resolve()
    if path == start:
        return True
    if path.is_relative_to(shipped) and not start.is_relative_to(shipped):
        return False
    return path.is_relative_to(start.parent) or path.is_relative_to(Path.cwd())


def _replace(path: Path, data: bytes) -> None:
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary = Path(file.name)
    try:
        temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
