"""The database file: opening it, waiting for its lock, and making its tables."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path

import duckdb

Config = Mapping[str, str | bool | int | float | list[str]]
FILE = "specc.duckdb"
WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.05
_SCHEMA = Path(__file__).with_name("schema.sql")
# What DuckDB says of a file that no version of this code can use; anything else (a full disk, a missing permission)
# is no reason to delete it.
_NOT_A_DATABASE = re.compile(r"not a valid DuckDB|version number|storage version|corrupt|checksum", re.IGNORECASE)


class StoreError(Exception):
    """A mistake of the user or a state of the machine: one line, with what is available."""


class DatabaseLockedError(StoreError):
    """Another process holds the database for longer than we waited."""


class UnusableDatabaseError(StoreError):
    """The file is no database, or one of an incompatible version; it can be rebuilt."""


def schema_version() -> str:
    """Hash of schema.sql: a changed schema is another version, without anyone having to remember it."""
    return sha256(_SCHEMA.read_bytes()).hexdigest()[:12]


def connect(
    database: Path,
    *,
    read_only: bool,
    wait_seconds: float = WAIT_SECONDS,
    config: Config | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open the file; waits for `wait_seconds` while another process holds it.

    DatabaseLockedError when it stays locked, UnusableDatabaseError when it cannot be read, StoreError otherwise.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return duckdb.connect(str(database), read_only=read_only, config=dict(config or {}))
        except (duckdb.IOException, duckdb.SerializationException) as error:
            failure = _explain(database, str(error))
        if not isinstance(failure, DatabaseLockedError) or time.monotonic() >= deadline:
            raise failure
        time.sleep(_POLL_SECONDS)


def is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the tables are those of this version."""
    # Looked up first: a failed statement would abort the transaction of the caller.
    named = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'internal' AND table_name = 'about'"
    if not connection.execute(named).fetchall():
        return False
    return connection.execute("FROM internal.about").fetchall() == [(schema_version(),)]


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Drop whatever is there and make empty tables; the caller holds the transaction.

    Dropping inside the file, and not the file, so that two processes that both find it old do not race.
    """
    views = "SELECT 'VIEW', schema_name, view_name FROM duckdb_views() WHERE NOT internal"
    tables = "SELECT 'TABLE', schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
    for kind, schema, name in connection.execute(f"{views} UNION ALL {tables}").fetchall():
        connection.execute(f'DROP {kind} IF EXISTS "{schema}"."{name}" CASCADE').fetchall()
    connection.execute("DROP SCHEMA IF EXISTS internal CASCADE").fetchall()
    for statement in connection.extract_statements(_SCHEMA.read_text(encoding="utf-8")):
        connection.execute(statement).fetchall()
    connection.execute("INSERT INTO internal.about VALUES (?)", [schema_version()]).fetchall()


def remove(database: Path) -> None:
    """Delete the file and its log; no error when they are gone."""
    database.unlink(missing_ok=True)
    database.with_name(database.name + ".wal").unlink(missing_ok=True)


def open_for_reading(
    database: Path, *, wait_seconds: float = WAIT_SECONDS, config: Config | None = None
) -> closing[duckdb.DuckDBPyConnection]:
    """Open an existing database read-only, as a context; StoreError when there is none of this version."""
    if not database.is_file():
        raise StoreError(f"there is no database {database}; `specc sync` makes it")
    connection = connect(database, read_only=True, wait_seconds=wait_seconds, config=config)
    if not is_current(connection):
        connection.close()
        raise StoreError(f"{database} was made by another version of specc; `specc sync` rebuilds it")
    return closing(connection)


def near(word: str, names: list[str], limit: int = 8) -> str:
    """The end of an error message: the names most like `word`, else some of those that exist."""
    known = sorted(dict.fromkeys(names))
    matches = get_close_matches(word, known, n=3, cutoff=0.6)
    if matches:
        return f"; did you mean {' or '.join(matches)}?"
    more = ", ..." if len(known) > limit else ""
    return f"; there is {', '.join(known[:limit])}{more}" if known else ""


def _explain(database: Path, message: str) -> StoreError:
    first = message.splitlines()[0]
    if "lock" in first.lower():
        holder = re.search(r"PID (\d+)", message)
        by = f"process {holder[1]}" if holder else "another process"
        return DatabaseLockedError(f"{database} is in use by {by}; try again when it is done")
    if _NOT_A_DATABASE.search(message):
        return UnusableDatabaseError(f"{database} cannot be read: {first}")
    return StoreError(f"cannot open {database}: {first}")
