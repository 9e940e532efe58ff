"""The pinned formatter: ruff, the same bytes everywhere."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from ruff import find_ruff_bin

from specc.backends.artifact import Artifact

_LINE_LENGTH = "120"
# Imports that a template offers and this experiment does not use go; `model` is the file beside, not a package.
_TIDY = ("check", "--quiet", "--fix", "--select", "F401,I001", "--config", 'lint.isort.known-first-party=["model"]')
_FORMAT = ("format", "--quiet", "--line-length", _LINE_LENGTH)
# Programs that are formatted at once. Some file systems take milliseconds to make a file and to remove it, so that
# writing over a few is faster than writing many.
_BATCH = 250


class GeneratedCodeError(Exception):
    """A back-end emitted text that is not Python: a bug in specc."""


def format_folders(folders: tuple[tuple[Artifact, ...], ...]) -> tuple[tuple[Artifact, ...], ...]:
    """The folders with every Python file tidied and formatted; GeneratedCodeError when one does not parse.

    Equal files are formatted once, and many by one process.
    """
    folder_files = (artifact for folder in folders for artifact in folder)
    programs = list(dict.fromkeys(artifact for artifact in folder_files if artifact.path.endswith(".py")))
    done: dict[Artifact, Artifact] = {}
    with tempfile.TemporaryDirectory(prefix="specc-") as scratch:
        for start in range(0, len(programs), _BATCH):
            done |= _formatted(programs[start : start + _BATCH], Path(scratch))
    return tuple(tuple(done.get(artifact, artifact) for artifact in folder) for folder in folders)


def _formatted(programs: list[Artifact], scratch: Path) -> dict[Artifact, Artifact]:
    """Each program with its formatted self. Files of an earlier batch are written over."""
    paths = {program: scratch / f"{index}.py" for index, program in enumerate(programs)}
    for program, path in paths.items():
        path.write_text(program.text, encoding="utf-8")
    for arguments in (_TIDY, _FORMAT):
        _ruff(arguments, scratch)
    return {program: Artifact(program.path, path.read_text(encoding="utf-8")) for program, path in paths.items()}


def _ruff(arguments: tuple[str, ...], folder: Path) -> None:
    command = [find_ruff_bin(), *arguments[:1], "--isolated", "--no-cache", *arguments[1:], "."]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise GeneratedCodeError((result.stdout + result.stderr).strip())
