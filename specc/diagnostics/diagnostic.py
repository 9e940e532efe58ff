"""What an error is made of.

A check knows paths of the spec and writes a `Finding`; the source knows where each path was written and turns it into
a `Diagnostic`; rendering knows nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note", "off"]
"""`off` is a warning that is shown only where it is asked for."""
Path = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Span:
    """A stretch of one file. Lines and columns count from 1, the end column is the first one after."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Label:
    """A place in a file and what is to be said about it; exactly one label of a diagnostic is primary."""

    span: Span
    text: str = ""
    primary: bool = False


@dataclass(frozen=True)
class Change:
    """One step of a remedy, in paths: of the spec in a `Finding`, of one file in a `Fix`."""

    act: Literal["replace", "rename", "delete", "move"]
    path: Path
    text: str = ""
    """The value to write (`replace`), the name to write (`rename`)."""
    to: Path = ()
    """The section that an entry moves to."""


@dataclass(frozen=True)
class Edit:
    """Text that stands in the place of a span; an empty span inserts, an empty text deletes."""

    span: Span
    text: str


@dataclass(frozen=True)
class Fix:
    """Edits that mend one mistake, all of them together. A safe one leaves no doubt about what was meant."""

    safe: bool
    edits: tuple[Edit, ...]
    changes: tuple[Change, ...]
    """What the file says after the edits, against which they are checked."""


@dataclass(frozen=True)
class Remedy:
    """What would mend a finding, before its places are known."""

    changes: tuple[Change, ...]
    safe: bool


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: one fact as headline, every place that takes part, the arithmetic, and a way out."""

    code: str
    severity: Severity
    headline: str
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    fix: Fix | None = None

    @property
    def primary(self) -> Label | None:
        """The label that the location line names."""
        return next((label for label in self.labels if label.primary), None)


@dataclass(frozen=True)
class At:
    """A path of the spec that takes part in a finding; `of_key` points at the key and not at its value."""

    path: Path
    text: str = ""
    of_key: bool = False


@dataclass(frozen=True)
class Finding:
    """A diagnostic before its places are known: what checks and planning report. The first place is the primary one."""

    code: str
    headline: str
    at: tuple[At, ...] = ()
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: Severity = "error"
    remedy: Remedy | None = None
