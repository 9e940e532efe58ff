"""Where a spec is: a file, a folder of generated code, a run, or a file of another revision in git."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

LOCK = "experiment.lock.yaml"


class NoSpecError(Exception):
    """An address at which no spec is; the message is for the user."""


@contextmanager
def found(address: str) -> Iterator[Path]:
    """The file of the spec at an address, for as long as it is needed."""
    path = Path(address)
    if path.is_dir():
        yield _in_folder(path)
    elif not path.exists() and ":" in address:
        with TemporaryDirectory(prefix="specc-") as folder:
            yield _of_revision(address, Path(folder))
    else:
        yield path


def _in_folder(folder: Path) -> Path:
    """The lock of generated code, or of the plan that a run began with."""
    events = folder / "events.jsonl"
    if (folder / LOCK).is_file():
        return folder / LOCK
    if not events.is_file():
        raise NoSpecError(f"{folder} is neither generated code nor a run: it has no {LOCK}")
    try:
        with events.open(encoding="utf-8") as lines:
            started = json.loads(lines.readline())
        return folder / str(started["plan"]) / LOCK
    except (OSError, ValueError, KeyError, TypeError):
        raise NoSpecError(f"{events} does not say which plan the run began with") from None


def _of_revision(address: str, folder: Path) -> Path:
    """`REV:path` with every YAML file of that revision, since a spec may extend others."""
    revision, _, name = address.partition(":")
    prefix = _git("rev-parse", "--show-prefix").decode().strip()
    top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
    if revision.startswith("-"):
        raise NoSpecError(f"`{revision}` is no revision")
    packed = _git("archive", "--format=tar", revision, "--", ":(glob)**/*.y*ml", folder=top)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    path = folder / prefix / name
    if not path.is_file():
        raise NoSpecError(f"there is no `{name}` in revision `{revision}`")
    return path


def _git(*arguments: str, folder: Path | None = None) -> bytes:
    try:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise NoSpecError("reading a revision needs git") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["git failed"]
        raise NoSpecError(lines[0].removeprefix("fatal: ")) from None
