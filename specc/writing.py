"""The generated folder on disk: written whole, never over somebody's edit."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


@dataclass(frozen=True)
class SweepWritten:
    """What writing a sweep did."""

    folders: Mapping[str, Written]
    """By the name of the variant's folder."""
    gone: tuple[str, ...]
    """Folders of variants of an earlier sweep that are not made any more."""
    index_changed: bool

    @property
    def stale(self) -> bool:
        """Whether anything was not what the spec says."""
        return self.index_changed or bool(self.gone) or any(found.stale for found in self.folders.values())


class EditedError(Exception):
    """Files were edited by hand since they were generated."""

    def __init__(self, folder: Path, files: tuple[str, ...]) -> None:
        super().__init__(f"{folder / files[0]} was edited after it was generated")
        self.folder = folder
        self.files = files


def compare(folder: Path, artifacts: tuple[Artifact, ...]) -> Written:
    """What writing would do."""
    if not folder.is_dir():
        return Written(tuple(artifact.path for artifact in artifacts), (), (), ())
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
    changes = _allowed(folder, artifacts, force=force)
    _apply(folder, artifacts, changes)
    return changes


def compare_sweep(out: Path, index: Artifact, folders: Mapping[str, tuple[Artifact, ...]]) -> SweepWritten:
    """What writing a sweep would do."""
    changes = {folder: compare(out / folder, artifacts) for folder, artifacts in folders.items()}
    return SweepWritten(changes, _gone(out / index.path, folders), not _holds(out, index))


def write_sweep(
    out: Path, index: Artifact, folders: Mapping[str, tuple[Artifact, ...]], *, force: bool = False
) -> SweepWritten:
    """Write every variant and the index, and remove variants of an earlier sweep that this one no longer has.

    EditedError rather than discard an edit; then nothing is written.
    """
    gone = _gone(out / index.path, folders)
    changes = {folder: _allowed(out / folder, artifacts, force=force) for folder, artifacts in folders.items()}
    leaving = {folder: _allowed(out / folder, (), force=force) for folder in gone}
    result = SweepWritten(changes, gone, not _holds(out, index))
    for folder, artifacts in folders.items():
        _apply(out / folder, artifacts, changes[folder])
    for folder, leave in leaving.items():
        _apply(out / folder, (), leave)
        _remove(out / folder)
    (out / index.path).write_text(index.text, encoding="utf-8")
    return result


def earlier_sweep(out: Path, name: str) -> Path | None:
    """The index that a sweep of that name left behind."""
    index = out / manifest.sweep_path(name)
    return index if index.is_file() else None


def _allowed(folder: Path, artifacts: tuple[Artifact, ...], *, force: bool) -> Written:
    """What writing would do; EditedError where that would discard an edit."""
    result = compare(folder, artifacts)
    edited = _edited(folder) if not force and (result.changed or result.removed) else frozenset()
    lost = tuple(path for path in (*result.changed, *result.removed) if path in edited)
    if lost:
        raise EditedError(folder, lost)
    return result


def _apply(folder: Path, artifacts: tuple[Artifact, ...], changes: Written) -> None:
    texts = {artifact.path: artifact.text for artifact in artifacts}
    targets = {path: folder / path for path in (*changes.added, *changes.changed)}
    for parent in {target.parent for target in targets.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    for path, target in targets.items():
        target.write_text(texts[path], encoding="utf-8")
    for path in changes.removed:
        (folder / path).unlink()


def _remove(folder: Path) -> None:
    """The manifest, and the folders that are empty now; what somebody else put there stays."""
    (folder / manifest.FILE).unlink(missing_ok=True)
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        _remove_if_empty(inner)
    _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _gone(index: Path, folders: Mapping[str, tuple[Artifact, ...]]) -> tuple[str, ...]:
    """Variants that the index on disk lists and that are not made any more."""
    try:
        known = manifest.read_sweep(index).variants
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ()
    return tuple(old.folder for old in known if old.folder not in folders and (index.parent / old.folder).is_dir())


def _holds(out: Path, artifact: Artifact) -> bool:
    file = out / artifact.path
    return file.is_file() and file.read_text(encoding="utf-8") == artifact.text


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
