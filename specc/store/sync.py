"""From run directories to the database: new events only, one transaction, safe to repeat."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from specc.store import events, files, plans
from specc.store.database import (
    FILE,
    WAIT_SECONDS,
    StoreError,
    UnusableDatabaseError,
    connect,
    create_tables,
    is_current,
    remove,
)
from specc.store.files import EventFile, ReadState

BATCH_BYTES = 256 << 20
"""Event text parsed at a time: bounds the temporary disk space and memory of a rebuild."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync did."""

    runs: int = 0
    """Runs with new events."""
    rows: int = 0
    """Rows that came in."""
    replaced: int = 0
    """Rows that did not count: of an earlier attempt, or there already."""
    plans: int = 0
    """Plans that were loaded."""
    bytes_read: int = 0
    rebuilt: bool = False
    """Whether the database was made anew."""
    problems: tuple[str, ...] = ()
    """What could not be read or was read again, one line each."""
    seconds: float = 0.0


@dataclass(frozen=True)
class _Reading:
    """An event file with something to read in [position, file.size)."""

    file: EventFile
    position: int
    restart: bool
    """Whether the stored rows of the run are of another file and go."""
    digest: str = ""
    """Of what was read up to `position`."""


@dataclass(frozen=True)
class _Changes:
    """The difference between the directories and the database."""

    readings: tuple[_Reading, ...]
    gone_runs: tuple[str, ...]
    changed_plans: tuple[str, ...]
    gone_plans: tuple[str, ...]
    alive: dict[str, bool]
    """Runs without an end whose state turned, by run."""

    def __bool__(self) -> bool:
        return any((self.readings, self.gone_runs, self.changed_plans, self.gone_plans, self.alive))


@dataclass(frozen=True)
class _Batch:
    """Complete lines, cut out of the event files to be parsed together."""

    slices: dict[Path, str]
    """Run by file of lines."""
    finished: tuple[_Reading, ...]
    pending: tuple[_Reading, ...]
    long_lines: bool


def sync(runs_dir: Path, database: Path | None = None, *, wait_seconds: float = WAIT_SECONDS) -> SyncReport:
    """Load what is new under `runs_dir`; a database that is missing or of another version is made anew.

    DatabaseLockedError when another process holds the database for longer than `wait_seconds`.
    """
    if not runs_dir.is_dir():
        raise StoreError(f"there is no run directory {runs_dir}; --runs says where the runs are")
    target = database or runs_dir / FILE
    began = time.monotonic()
    try:
        report = _sync(runs_dir, target, wait_seconds)
    except (OSError, duckdb.IOException) as error:  # a full disk, a directory that may not be read
        raise StoreError(f"cannot bring {target} up to date: {str(error).splitlines()[0]}") from error
    return replace(report, seconds=time.monotonic() - began)


def _sync(runs_dir: Path, target: Path, wait_seconds: float) -> SyncReport:
    rebuilt = False
    try:
        # A look first: readers do not exclude each other, so queries beside an unchanged tree never wait.
        if target.is_file() and _is_up_to_date(runs_dir, target, wait_seconds):
            return SyncReport()
        connection = connect(target, read_only=False, wait_seconds=wait_seconds)
    except UnusableDatabaseError:
        remove(target)
        rebuilt = True
        connection = connect(target, read_only=False, wait_seconds=wait_seconds)
    with closing(connection), TemporaryDirectory(prefix="specc-sync-") as folder:
        connection.begin()
        if not is_current(connection):
            create_tables(connection)
            rebuilt = True
        report = _apply(connection, runs_dir, _scan(connection, runs_dir), Path(folder))
        connection.commit()
    return replace(report, rebuilt=rebuilt)


def _is_up_to_date(runs_dir: Path, target: Path, wait_seconds: float) -> bool:
    with closing(connect(target, read_only=True, wait_seconds=wait_seconds)) as connection:
        return is_current(connection) and not _scan(connection, runs_dir)


def _scan(connection: duckdb.DuckDBPyConnection, runs_dir: Path) -> _Changes:
    rows = connection.execute("SELECT run, size, modified_ns, read_to, digest FROM internal.files").fetchall()
    known = {run: ReadState(*state) for run, *state in rows}
    present = files.event_files(runs_dir)
    starts = ((file, files.start_of_reading(file, known.get(file.run))) for file in present)
    readings = tuple(
        _Reading(file, start, restart=start == 0 and file.run in known and known[file.run].read_to > 0)
        for file, start in starts
        if start is not None
    )
    rows = connection.execute("SELECT plan, size, modified_ns FROM internal.manifests").fetchall()
    known_plans = {plan: (size, modified) for plan, size, modified in rows}
    found_plans = files.manifests(runs_dir)
    return _Changes(
        readings=readings,
        gone_runs=tuple(sorted(known.keys() - {file.run for file in present})),
        changed_plans=tuple(plan for plan, state in found_plans.items() if known_plans.get(plan) != state),
        gone_plans=tuple(sorted(known_plans.keys() - found_plans.keys())),
        alive=_turned(connection),
    )


def _turned(connection: duckdb.DuckDBPyConnection) -> dict[str, bool]:
    """Runs without an end that are no longer, or again, alive: run -> alive."""
    rows = connection.execute(
        """
        SELECT f.run, latest.host, latest.pid, f.modified_ns, f.alive
        FROM internal.files f
        LEFT JOIN (SELECT run, arg_max(attempts, attempt) AS latest FROM attempts GROUP BY run) USING (run)
        WHERE latest.state IS NULL
        """
    ).fetchall()
    now = time.time()
    states = ((run, files.is_alive(host, pid, modified, now), stored) for run, host, pid, modified, stored in rows)
    return {run: alive for run, alive, stored in states if alive != stored}


def _apply(connection: duckdb.DuckDBPyConnection, runs_dir: Path, changes: _Changes, folder: Path) -> SyncReport:
    restarted = [reading.file.run for reading in changes.readings if reading.restart]
    events.forget_runs(connection, [*changes.gone_runs, *restarted])
    manifest_problems = _load_plans(connection, runs_dir, changes, folder)
    report = _load_events(connection, changes.readings, folder)
    _store_liveness(connection, _turned(connection))
    problems = (
        *(f"{run}/{files.EVENTS} was replaced and is read again from its start" for run in restarted),
        *(f"{run} is gone, and so are its rows" for run in changes.gone_runs),
        *manifest_problems,
        *report.problems,
    )
    return replace(report, plans=len(changes.changed_plans) - len(manifest_problems), problems=problems)


def _load_plans(
    connection: duckdb.DuckDBPyConnection, runs_dir: Path, changes: _Changes, folder: Path
) -> tuple[str, ...]:
    plans.forget_plans(connection, [*changes.changed_plans, *changes.gone_plans])
    if not changes.changed_plans:
        return ()
    states = files.manifests(runs_dir)  # before reading: a manifest that changes meanwhile is read again next time
    found, problems = plans.read_manifests(runs_dir, changes.changed_plans)
    plans.insert_plans(connection, found, folder)
    seen = [plan for plan in changes.changed_plans if plan in states]
    columns = [seen, [states[plan][0] for plan in seen], [states[plan][1] for plan in seen]]
    connection.execute(
        "INSERT INTO internal.manifests SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[]), unnest(?::BIGINT[])", columns
    ).fetchall()
    return problems


def _load_events(connection: duckdb.DuckDBPyConnection, readings: tuple[_Reading, ...], folder: Path) -> SyncReport:
    refused: dict[str, tuple[int, int]] = {}
    rows = replaced = 0
    done: list[_Reading] = []
    pending = readings
    while pending:
        # A folder of its own for each batch, because DuckDB may keep what it read of a path.
        with TemporaryDirectory(dir=folder) as place:
            batch = _cut_batch(pending, Path(place))
            moved = _load_batch(connection, batch, refused) if batch.slices else ()
        rows += sum(kept for kept, _ in moved)
        replaced += sum(gone for _, gone in moved)
        done += batch.finished
        pending = batch.pending
    _store_positions(connection, done, refused)
    started = {reading.file.run: reading.position for reading in readings}
    read = [reading.position - started[reading.file.run] for reading in done]
    new = [number for number in read if number]
    return SyncReport(runs=len(new), rows=rows, replaced=replaced, bytes_read=sum(new), problems=_refusals(refused))


def _load_batch(
    connection: duckdb.DuckDBPyConnection, batch: _Batch, refused: dict[str, tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """(rows in, rows that gave way) by table; adds to `refused` (unreadable lines, unknown events) by run."""
    events.land(connection, batch.slices, long_lines=batch.long_lines)
    for run, (unreadable, unknown) in events.count_refused(connection).items():
        before = refused.get(run, (0, 0))
        refused[run] = (before[0] + unreadable, before[1] + unknown)
    moved = tuple(events.insert_events(connection, table) for table in events.TABLES)
    events.merge_attempts(connection)
    events.summarise_metrics(connection)
    return moved


def _cut_batch(pending: tuple[_Reading, ...], folder: Path) -> _Batch:
    """Copy up to BATCH_BYTES of complete lines into files of `folder`."""
    slices: dict[Path, str] = {}
    finished: list[_Reading] = []
    rest = list(pending)
    room, long_lines = BATCH_BYTES, False
    while rest and room > 0:
        reading = rest.pop(0)
        file = reading.file
        piece = folder / f"{len(slices)}.jsonl"
        try:
            copied = files.copy_lines(file.path, piece, reading.position, file.size, room)
            digest = files.probe(file.path, copied.position)
        except FileNotFoundError:  # removed since the listing; the next sync forgets it
            continue
        room -= copied.position - reading.position
        long_lines |= copied.long_line
        if copied.position > reading.position:
            slices[piece] = file.run
        moved = replace(reading, position=copied.position, digest=digest)
        if copied.more:
            return _Batch(slices, tuple(finished), (moved, *rest), long_lines)
        # What is left after the last complete line is torn, or still being written.
        finished.append(moved)
    return _Batch(slices, tuple(finished), tuple(rest), long_lines)


def _store_positions(
    connection: duckdb.DuckDBPyConnection, done: list[_Reading], refused: dict[str, tuple[int, int]]
) -> None:
    if not done:
        return
    runs = [reading.file.run for reading in done]
    rows = connection.execute(
        "SELECT run, alive, unreadable_lines, unknown_events FROM internal.files WHERE run IN (SELECT unnest(?))",
        [runs],
    ).fetchall()
    stored = {run: (alive, unreadable, unknown) for run, alive, unreadable, unknown in rows}
    values = []
    for reading in done:
        file = reading.file
        alive, unreadable, unknown = stored.get(file.run, (False, 0, 0))
        more = refused.get(file.run, (0, 0))
        state = (file.size, file.modified_ns, reading.position, reading.digest, alive)
        values.append((file.run, *file.address, *state, unreadable + more[0], unknown + more[1]))
    connection.execute("DELETE FROM internal.files WHERE run IN (SELECT unnest(?))", [runs]).fetchall()
    kinds = [*["VARCHAR"] * 5, *["BIGINT"] * 3, "VARCHAR", "BOOLEAN", "BIGINT", "BIGINT"]
    columns = ", ".join(f"unnest(?::{kind}[])" for kind in kinds)
    transposed = [list(column) for column in zip(*values, strict=True)]
    connection.execute(f"INSERT INTO internal.files SELECT {columns}", transposed).fetchall()


def _store_liveness(connection: duckdb.DuckDBPyConnection, turned: dict[str, bool]) -> None:
    for state in (True, False):
        runs = [run for run, alive in turned.items() if alive is state]
        connection.execute(
            "UPDATE internal.files SET alive = ? WHERE run IN (SELECT unnest(?::VARCHAR[]))", [state, runs]
        ).fetchall()


def _refusals(refused: dict[str, tuple[int, int]]) -> tuple[str, ...]:
    lines = []
    for run, (unreadable, unknown) in sorted(refused.items()):
        parts = [f"{unreadable} unreadable line{_s(unreadable)}"] if unreadable else []
        parts += [f"{unknown} event{_s(unknown)} of unknown type"] if unknown else []
        lines.append(f"{run}/{files.EVENTS}: skipped {' and '.join(parts)}")
    return tuple(lines)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
