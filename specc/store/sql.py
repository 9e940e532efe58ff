"""SQL of the user: one question, read-only, without access to files, the network or the configuration."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from specc.store.database import WAIT_SECONDS, Config, StoreError, open_for_reading

TIMEOUT_SECONDS = 300.0
_CONFIG: Config = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}
_ALLOWED = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


@dataclass(frozen=True)
class Result:
    """Rows and the names and SQL types of their columns."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def query(
    database: Path, text: str, *, timeout_seconds: float = TIMEOUT_SECONDS, wait_seconds: float = WAIT_SECONDS
) -> Result:
    """Answer one SELECT, WITH, EXPLAIN, DESCRIBE or SHOW; StoreError in one line for everything else.

    The statement is stopped after `timeout_seconds`.
    """
    with open_for_reading(database, wait_seconds=wait_seconds, config=_CONFIG) as connection:
        for setting in ("max_temp_directory_size = '0KiB'", "lock_configuration = true"):
            connection.execute(f"SET {setting}").fetchall()
        try:
            statement = _one_statement(connection, text)
            with _time_limit(connection, timeout_seconds):
                answer = connection.execute(statement)
                columns = answer.description or []
                rows = answer.fetchall()
        except duckdb.InterruptException:
            raise StoreError(f"the query took longer than {timeout_seconds:g} s and was stopped") from None
        except duckdb.Error as error:
            raise StoreError(_one_line(error)) from None
    names = tuple(str(column[0]) for column in columns)
    return Result(names, tuple(str(column[1]) for column in columns), tuple(rows))


def tables(database: Path) -> Result:
    """The tables and views with what they hold."""
    return query(database, """SELECT "table", holds FROM about WHERE "column" IS NULL ORDER BY ALL""")


def _one_statement(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.Statement:
    statements = connection.extract_statements(text)
    if len(statements) != 1:
        raise StoreError(f"one statement at a time, and this is {len(statements)}")
    (statement,) = statements
    if statement.type not in _ALLOWED:
        kind = statement.type.name.replace("_", " ")
        raise StoreError(f"only SELECT, WITH, EXPLAIN, DESCRIBE and SHOW are answered, and this is {kind}")
    return statement


@contextmanager
def _time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _one_line(error: duckdb.Error) -> str:
    """What DuckDB says without its excerpt of the query, which has lines and carets of its own."""
    head = str(error).split("\n\nLINE ")[0]
    return " ".join(line.strip() for line in head.splitlines() if line.strip())
