"""The event log of a run: append-only JSON lines with one writer (the contract is in docs/runs.md)."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from runners.errors import RunError

FILE = "events.jsonl"


class Events(Protocol):
    """Where a run reports what happens."""

    def write(self, kind: str, /, **fields: Any) -> None:
        """Report one event."""

    def sync(self) -> None:
        """Return when everything reported so far would survive a power cut."""

    def begin_again(self, *, resumed_from_step: int) -> None:
        """Report that the same process goes on from an earlier step: what it said of later ones counts no longer."""


class Silence:
    """The events of a process that another one speaks for."""

    def write(self, kind: str, /, **fields: Any) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    def begin_again(self, *, resumed_from_step: int) -> None:
        """Nothing."""


@dataclass
class EventWriter:
    """The only writer of one `events.jsonl`: it holds a lock on the file for as long as it lives."""

    path: Path
    attempt: int
    """1 for the first process that works on the run, one more for each restart."""
    descriptor: int

    def write(self, kind: str, /, **fields: Any) -> None:
        """Append one event. A line goes out in one write, so that a kill leaves at most one torn line behind."""
        event = {"type": kind, "time": time.time(), "attempt": self.attempt, **fields}
        line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        written = os.write(self.descriptor, line)
        if written < len(line):  # a full disk; half a line is what every reader ignores
            reason = f"{os.strerror(errno.ENOSPC)}: {written} of {len(line)} bytes were written"
            raise OSError(errno.ENOSPC, reason, str(self.path))

    def sync(self) -> None:
        """Return when everything written so far would survive a power cut."""
        os.fsync(self.descriptor)

    def begin_again(self, *, resumed_from_step: int) -> None:
        """The next attempt, by the same process: of two events for one step, the later attempt's counts."""
        started = next(event for event in _backwards(self.path) if event["type"] == "run_started")
        self.attempt += 1
        again = {key: value for key, value in started.items() if key not in ("type", "time", "attempt")}
        self.write("run_started", **{**again, "resumed_from_step": resumed_from_step})

    def close(self) -> None:
        """Give the file to the next writer."""
        os.close(self.descriptor)

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_events(run: Path) -> EventWriter:
    """Become the writer of the run; RunError when another process is."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / FILE
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunError(f"another process is working on {run}; wait for it, or stop it") from None
    except OSError:
        pass  # some network file systems cannot lock; the scheduler then has to keep runs apart
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    attempts = [event["attempt"] for event in read_events(run) if event["type"] == "run_started"]
    return EventWriter(path, max(attempts, default=0) + 1, descriptor)


def read_events(run: Path) -> Iterator[Mapping[str, Any]]:
    """Every whole event of a run, in order of writing; nothing when there is no file yet."""
    path = run / FILE
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            event = _whole(line)
            if event is not None:
                yield event


def _backwards(path: Path) -> Iterator[Mapping[str, Any]]:
    return reversed(list(read_events(path.parent)))


def has_finished(run: Path) -> bool:
    """Whether the last thing that the run said is that it finished."""
    states = [event["state"] for event in read_events(run) if event["type"] == "run_finished"]
    return bool(states) and states[-1] == "finished"


def data_read(run: Path) -> Mapping[str, str]:
    """Addresses of the data sets that a run began with, by name."""
    found: dict[str, str] = {}
    for event in read_events(run):
        if event["type"] == "data":
            found.setdefault(event["name"], event["address"])
    return found


def _whole(line: bytes) -> Mapping[str, Any] | None:
    """The event of a line, or None for a torn one: the last without an end, or one that a restart closed."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"type", "time", "attempt"} <= event.keys() else None
