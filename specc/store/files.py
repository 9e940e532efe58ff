"""Run directories: which event files there are, what is new in them, and which runs are alive."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

EVENTS = "events.jsonl"
QUIET_SECONDS = 120.0
"""A run on another host counts as alive while its file is not older than this."""
_BLOCK = 8 << 20
_PROBE = 4096
_FOLDER = re.compile(r"(?P<stage>.+)-(?P<key>[0-9a-f]{12})(?P<suffix>-\d+)?")


@dataclass(frozen=True)
class EventFile:
    """One `events.jsonl` as it is on disk."""

    run: str
    path: Path
    size: int
    modified_ns: int

    @property
    def address(self) -> tuple[str, str, str, str]:
        """(experiment, stage, key, suffix) as the directory says; an odd name is a stage without a key."""
        experiment, folder = self.run.split("/")
        match = _FOLDER.fullmatch(folder)
        if match is None:
            return experiment, folder, "", ""
        return experiment, match["stage"], match["key"], match["suffix"] or ""


@dataclass(frozen=True)
class ReadState:
    """How far an event file has been read, as the database remembers it."""

    size: int
    modified_ns: int
    read_to: int
    digest: str


def event_files(runs_dir: Path) -> tuple[EventFile, ...]:
    """Every `runs_dir/*/*/events.jsonl`, by name."""
    return tuple(_event_files(runs_dir))


def manifests(runs_dir: Path) -> dict[str, tuple[int, int]]:
    """(size, modified ns) of every plan's manifest, by the plan's folder relative to `runs_dir`."""
    found = {}
    for path in sorted(runs_dir.glob("*/plans/*/manifest.json")):
        status = path.stat()
        found[path.parent.relative_to(runs_dir).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found


def start_of_reading(file: EventFile, known: ReadState | None) -> int | None:
    """Byte to read on from, 0 when the file is new or was replaced, None when nothing changed."""
    if known is None:
        return 0
    if (file.size, file.modified_ns) == (known.size, known.modified_ns):
        return None
    try:
        same = file.size >= known.read_to and probe(file.path, known.read_to) == known.digest
    except FileNotFoundError:  # removed since the listing; the next sync forgets it
        return None
    return known.read_to if same else 0


def probe(path: Path, read_to: int) -> str:
    """Digest of the first and the last 4 KiB before `read_to`: it tells an appended file from a replaced one."""
    with path.open("rb") as reader:
        head = reader.read(min(_PROBE, read_to))
        reader.seek(max(0, read_to - _PROBE))
        tail = reader.read(min(_PROBE, read_to))
    return sha256(head + tail).hexdigest()[:16]


@dataclass(frozen=True)
class Copied:
    """What `copy_lines` did."""

    position: int
    """End of the last line that was copied."""
    more: bool
    """Whether the limit stopped it before the end."""
    long_line: bool
    """Whether a line may have 16 MiB, where the parser has to be told: such a line spans a whole block."""


def copy_lines(source: Path, target: Path, start: int, end: int, limit: int) -> Copied:
    """Copy complete lines of bytes [start, end), about `limit` bytes of them.

    A torn last line is left for the next time. A line longer than `limit` is copied whole.
    """
    position = done = start
    long_line = False
    with source.open("rb") as reader, target.open("wb") as writer:
        reader.seek(start)
        while position < end and (position - start < limit or done == start):
            block = reader.read(min(_BLOCK, end - position))
            if not block:  # truncated since the listing
                end = position
                break
            newline = block.rfind(b"\n")
            if newline >= 0:
                done = position + newline + 1
            long_line |= newline < 0
            writer.write(block)
            position += len(block)
        writer.truncate(done - start)
    return Copied(done, position < end, long_line)


def is_alive(host: str | None, pid: int | None, modified_ns: int, now: float) -> bool:
    """Whether a run without an end still works: on this host its process tells, elsewhere the age of its file.

    `now` is in Unix seconds. A time far ahead of it, from a clock that is wrong, says nothing.
    """
    if host == socket.gethostname() and pid is not None:
        return _process_exists(pid)
    return abs(now - modified_ns / 1e9) < QUIET_SECONDS


def _event_files(runs_dir: Path) -> Iterator[EventFile]:
    for path in sorted(runs_dir.glob(f"*/*/{EVENTS}")):
        try:
            status = path.stat()
        except FileNotFoundError:  # removed between the listing and now
            continue
        run = path.parent.relative_to(runs_dir).as_posix()
        yield EventFile(run, path, status.st_size, status.st_mtime_ns)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists and belongs to someone else
        return True
    except OverflowError:
        return False
    return True
