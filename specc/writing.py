"""The generated folder on disk: written whole, never over somebody's edit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from specc import manifest
from specc.backends.artifact import Artifact


@dataclass(frozen=True)
class Written:
    """What a write did, by relative path."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: tuple[str, ...]

    @property
    def stale(self) -> bool:
        """Whether the folder was not what the spec says."""
        return bool(self.added or self.changed or self.removed)


class EditedError(Exception):
    """Files were edited by hand since they were generated."""

    def __init__(self, folder: Path, files: tuple[str, ...]) -> None:
        super().__init__(f"{folder / files[0]} was edited after it was generated")
        self.folder = folder
        self.files = files


def compare(folder: Path, artifacts: tuple[Artifact, ...]) -> Written:
    """What writing would do."""
    new = {artifact.path: artifact.text for artifact in artifacts}
    old = _recorded(folder)
    there = {path for path in new if (folder / path).is_file()}
    same = {path for path in there if (folder / path).read_text(encoding="utf-8") == new[path]}
    return Written(
        added=tuple(path for path in new if path not in there),
        changed=tuple(path for path in new if path in there and path not in same),
        removed=tuple(path for path in old if path not in new and (folder / path).is_file()),
        unchanged=tuple(path for path in new if path in same),
    )


def write(folder: Path, artifacts: tuple[Artifact, ...], *, force: bool = False) -> Written:
    """Write the artifacts and remove files of an earlier compile; EditedError rather than discard an edit."""
    edited = _edited(folder)
    result = compare(folder, artifacts)
    lost = tuple(path for path in (*result.changed, *result.removed) if path in edited)
    if lost and not force:
        raise EditedError(folder, lost)
    texts = {artifact.path: artifact.text for artifact in artifacts}
    for path in (*result.added, *result.changed):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(texts[path], encoding="utf-8")
    for path in result.removed:
        (folder / path).unlink()
    return result


def _recorded(folder: Path) -> tuple[str, ...]:
    """Files of the last compile, from its manifest; none where there is no readable one."""
    try:
        return tuple(manifest.read(folder).files)
    except (OSError, ValueError, TypeError, KeyError, json.JSONDecodeError):
        return ()


def _edited(folder: Path) -> frozenset[str]:
    try:
        return frozenset(manifest.changed_files(folder, manifest.read(folder)))
    except (OSError, ValueError, TypeError, KeyError, json.JSONDecodeError):
        return frozenset()
