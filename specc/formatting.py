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


class GeneratedCodeError(Exception):
    """A back-end emitted text that is not Python: a bug in specc."""


def format_python(artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """The artifacts with every Python file tidied and formatted; GeneratedCodeError when one does not parse."""
    programs = [artifact for artifact in artifacts if artifact.path.endswith(".py")]
    with tempfile.TemporaryDirectory(prefix="specc-") as folder:
        for artifact in programs:
            path = Path(folder, artifact.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(artifact.text, encoding="utf-8")
        for arguments in (_TIDY, _FORMAT):
            _ruff(arguments, folder)
        done = {p.path: Artifact(p.path, Path(folder, p.path).read_text(encoding="utf-8")) for p in programs}
    return tuple(done.get(artifact.path, artifact) for artifact in artifacts)


def _ruff(arguments: tuple[str, ...], folder: str) -> None:
    command = [find_ruff_bin(), *arguments[:1], "--isolated", "--no-cache", *arguments[1:], "."]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise GeneratedCodeError((result.stdout + result.stderr).strip())
