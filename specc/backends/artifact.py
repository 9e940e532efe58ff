"""One emitted file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """A file of the generated folder: relative path and text."""

    path: str
    text: str
