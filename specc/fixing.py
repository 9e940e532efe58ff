"""Safe fixes applied to the files that they stand in, until none remains; written only at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import unified_diff
from pathlib import Path
from tempfile import NamedTemporaryFile

from specc import resources
from specc.diagnostics import Change, Diagnostic, Fix
from specc.diagnostics.render import fixable
from specc.driver import Outcome
from specc.source import Source, SpecErrors, read
from specc.source.edits import apart, applied
from specc.source.source import BYTE_ORDER_MARK

_ROUNDS = 100

Check = Callable[[Source], Outcome]
_Key = tuple[str, str, tuple[Change, ...]]


@dataclass(frozen=True)
class Fixed:
    """What came of the fixes: the files that change, how many mistakes that mended, and what is left."""

    first: Outcome
    """What was found before any fix, a fix that is not applied no longer called safe."""

    outcome: Outcome
    before: dict[Path, str]
    after: dict[Path, str]
    names: dict[Path, str]
    mended: int
    """Mistakes that were found at first and are fixed now."""
    hidden: int
    """Mistakes fixed that others had hidden."""
    refused: tuple[str, ...]
    """Why a safe fix was not applied, a sentence each."""

    @property
    def changed(self) -> tuple[Path, ...]:
        """Files whose text is another one now."""
        return tuple(path for path, text in self.after.items() if text != self.before[path])


def fix(spec: Path, sets: tuple[str, ...], check: Check) -> Fixed:
    """The texts of a spec and of its presets after all safe fixes; nothing is written.

    A fix after which more errors would be left than before is refused.
    """
    state = _State({}, {}, {}, {})
    source, outcome = _checked(spec, sets, {}, check)
    first, made, alone = outcome, 0, False
    for _ in range(_ROUNDS):
        if source is None:
            break
        state.know(source)
        wanted = _wanted(source, outcome.diagnostics, spec, state.refused)
        count, texts = _round(source, wanted[:1] if alone else wanted)
        if not count:
            break
        further, then = _checked(spec, sets, state.after | texts, check)
        if _errors(then) <= _errors(outcome):
            made, source, outcome = made + count, further, then
            state.after |= texts
        elif count > 1:
            # One of them makes it worse: from here on one at a time.
            alone = True
        else:
            left = f"{_errors(then)} errors would be left, and there are {_errors(outcome)} now"
            state.refused[_key(wanted[0])] = f"{wanted[0].headline}: after its fix {left}"
    marked = _marked(first, state.refused)
    announced = min(made, fixable(marked.diagnostics))
    reasons = tuple(dict.fromkeys(state.refused.values()))
    return Fixed(marked, outcome, state.before, state.after, state.names, announced, made - announced, reasons)


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


@dataclass
class _State:
    """Files as they were, as they are after the fixes so far, what they are called, and what is not fixed and why."""

    before: dict[Path, str]
    after: dict[Path, str]
    names: dict[Path, str]
    refused: dict[_Key, str]

    def know(self, source: Source) -> None:
        """Remember the text of files that are read for the first time."""
        for name, path in source.files.items():
            self.before.setdefault(path, source.texts[name])
            self.names[path] = name


def _checked(spec: Path, sets: tuple[str, ...], texts: dict[Path, str], check: Check) -> tuple[Source | None, Outcome]:
    try:
        source = read(spec, sets, texts)
    except SpecErrors as errors:
        return None, Outcome((), errors.diagnostics, errors.texts)
    return source, check(source)


def _errors(outcome: Outcome) -> int:
    return sum(found.severity == "error" for found in outcome.diagnostics)


def _key(diagnostic: Diagnostic) -> _Key:
    """A mistake as it is known over rounds in which lines move."""
    changes = () if diagnostic.fix is None else diagnostic.fix.changes
    return diagnostic.code, diagnostic.headline, changes


def _wanted(
    source: Source, diagnostics: tuple[Diagnostic, ...], spec: Path, refused: dict[_Key, str]
) -> list[Diagnostic]:
    """Diagnostics with a safe fix in a file of the user's; those in other files are noted as refused."""
    wanted = []
    for diagnostic in diagnostics:
        if diagnostic.fix is None or not diagnostic.fix.safe or _key(diagnostic) in refused:
            continue
        name = diagnostic.fix.edits[0].span.file
        if _is_users(source.files[name], spec):
            wanted.append(diagnostic)
        else:
            reason = f"{name} is left as it is: it lies neither beside {spec} nor below this folder"
            refused[_key(diagnostic)] = reason
    return wanted


def _marked(outcome: Outcome, refused: dict[_Key, str]) -> Outcome:
    """The outcome, a fix that was refused no longer called safe."""
    marked = tuple(
        replace(found, fix=replace(found.fix, safe=False))
        if found.fix is not None and _key(found) in refused
        else found
        for found in outcome.diagnostics
    )
    return replace(outcome, diagnostics=marked)


def _round(source: Source, wanted: list[Diagnostic]) -> tuple[int, dict[Path, str]]:
    by_file: dict[str, list[Fix]] = {}
    for diagnostic in wanted:
        assert diagnostic.fix is not None
        by_file.setdefault(diagnostic.fix.edits[0].span.file, []).append(diagnostic.fix)
    count, texts = 0, {}
    for name, found in by_file.items():
        made, text = _apply(name, source.texts[name], apart(tuple(dict.fromkeys(found))))
        count += made
        if made:
            texts[source.files[name]] = text
    return count, texts


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
