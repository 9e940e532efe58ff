"""From event lines to tables: which event fills which table, under which key, and the SQL that does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

FIELDS = {
    "type": "VARCHAR", "time": "DOUBLE", "attempt": "INTEGER",
    "step": "BIGINT", "name": "VARCHAR", "value": "DOUBLE",
    "experiment": "VARCHAR", "identity": "VARCHAR", "stage": "VARCHAR", "kind": "VARCHAR", "key": "VARCHAR",
    "plan": "VARCHAR", "seed": "BIGINT", "host": "VARCHAR", "pid": "BIGINT", "device": "VARCHAR",
    "git_commit": "VARCHAR", "versions": "JSON", "resumed_from_step": "BIGINT", "upstream": "JSON",
    "model": "VARCHAR", "suite": "VARCHAR", "task": "VARCHAR", "metric": "VARCHAR", "stderr": "DOUBLE",
    "examples": "BIGINT", "num_fewshot": "BIGINT", "harness": "VARCHAR",
    "prompt": "VARCHAR", "text": "VARCHAR", "path": "VARCHAR", "bytes": "BIGINT", "sha256": "JSON",
    "address": "VARCHAR", "documents": "BIGINT", "tokens": "BIGINT",
    "state": "VARCHAR", "error": "VARCHAR", "seconds": "DOUBLE",
}  # fmt: skip
"""Every field of every event; a value of another type is read as NULL, and its line then counts as unreadable."""


@dataclass(frozen=True)
class EventTable:
    """One kind of event and the table it fills."""

    event: str
    table: str
    key: tuple[str, ...]
    """Of two rows with the same key the one with the higher attempt counts."""
    values: tuple[str, ...]


TABLES = (
    EventTable("metric", "metrics", ("run", "name", "step"), ("value",)),
    EventTable(
        "evaluation", "internal.evaluations", ("run", "model", "suite", "task", "metric", "num_fewshot"),
        ("value", "stderr", "examples", "harness"),
    ),
    EventTable("data", "data_sets", ("run", "name"), ("address", "documents", "tokens")),
    EventTable("incident", "incidents", ("run", "step", "name"), ("text",)),
    EventTable("sample", "samples", ("run", "step", "prompt"), ("text",)),
    EventTable("checkpoint", "checkpoints", ("run", "step"), ("path", "bytes", "sha256")),
    EventTable("prediction", "predictions", ("run", "name"), ("value",)),
    EventTable("measurement", "measurements", ("run", "name"), ("value",)),
)  # fmt: skip

_LINE_BYTES = 16 << 20
_OPTIONAL = {"suite", "num_fewshot"}
_KNOWN = ("run_started", "run_finished", *(table.event for table in TABLES))
# A time outside these years is no Unix time, and would not fit a TIMESTAMP.
_VALID_TIME = "time BETWEEN 0 AND 1e11 AND attempt >= 1"


def land(connection: duckdb.DuckDBPyConnection, slices: dict[Path, str], *, long_lines: bool = False) -> None:
    """Parse files of complete lines (path -> run) into the temporary table `landing`, one row a line.

    `good` says whether the line is an event of a known type with every field it needs.
    """
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in FIELDS.items())
    longest = max(_LINE_BYTES, *(path.stat().st_size for path in slices)) if long_lines else _LINE_BYTES
    paths, runs = [str(path) for path in slices], list(slices.values())
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE landing AS
        SELECT slices.run AS run, lines.* EXCLUDE (slice, time), make_timestamp(CAST(
                   CASE WHEN {_VALID_TIME} THEN time * 1e6 END AS BIGINT)) AS time,
               coalesce({_VALID_TIME} AND ({_valid_fields()}), false) AS good
        FROM read_json(?, format = 'newline_delimited', columns = {{{columns}}}, filename = 'slice',
                       ignore_errors = true, maximum_object_size = {longest}) lines
        JOIN (SELECT unnest(?::VARCHAR[]) AS slice, unnest(?::VARCHAR[]) AS run) slices USING (slice)
        """,
        [paths, paths, runs],
    ).fetchall()


def count_refused(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int]]:
    """(unreadable lines, events of unknown type) of the landed lines by run, where there are any."""
    known = ", ".join(f"'{event}'" for event in _KNOWN)
    rows = connection.execute(
        f"""
        SELECT run, count(*) FILTER (NOT foreign_type), count(*) FILTER (foreign_type)
        FROM (SELECT run, coalesce({_valid_stamp()} AND type NOT IN ({known}), false) AS foreign_type
              FROM landing WHERE NOT good)
        GROUP BY run
        """
    ).fetchall()
    return {run: (unreadable, unknown) for run, unreadable, unknown in rows}


def insert_events(connection: duckdb.DuckDBPyConnection, table: EventTable) -> tuple[int, int]:
    """Move the landed events of one type into their table: (rows in, rows that gave way to a later attempt)."""
    columns, key = ", ".join((*table.key, *table.values, "attempt", "time")), ", ".join(table.key)
    landed = f"SELECT {columns} FROM landing WHERE good AND type = '{table.event}'"
    landed_rows = _count(connection, f"SELECT count(*) FROM ({landed})")
    if not landed_rows:
        return 0, 0
    replaced, source = 0, landed
    repeats = _count(connection, f"SELECT count(*) FROM (SELECT 1 FROM ({landed}) GROUP BY {key} HAVING count(*) > 1)")
    overlaps = _may_overlap(connection, table)
    if repeats or overlaps:
        latest = f"row_number() OVER (PARTITION BY {key} ORDER BY attempt DESC, time DESC) = 1"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS {landed} QUALIFY {latest}").fetchall()
        replaced = _give_way(connection, table) if overlaps else 0
        source = "SELECT * FROM fresh"
    # Sorted, so that a question about one metric of one run reads only its own blocks.
    kept = _count(connection, f"INSERT INTO {table.table} ({columns}) {source} ORDER BY {key}")
    return kept, replaced + landed_rows - kept


def merge_attempts(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring `attempts` up to date with the landed starts, ends and times of last events."""
    started = (
        "experiment", "identity", "stage", "kind", "key", "seed", "host", "pid", "device", "git_commit",
        "versions", "resumed_from_step", "upstream",
    )  # fmt: skip
    texts = (*started, "plan", "state", "final_step", "error", "seconds")
    # `../plans/x` beside the run is the folder `<experiment>/plans/x` of the tree.
    plan = "CASE WHEN plan LIKE '../%' THEN split_part(run, '/', 1) || plan[3:] ELSE run || '/' || plan END AS plan"
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE merged AS
        SELECT run, attempt, min(started) AS started, max(last_event) AS last_event, max(finished) AS finished,
               {", ".join(f"any_value({name}) AS {name}" for name in texts)}
        FROM (
            SELECT run, attempt, max(time) AS last_event FROM landing WHERE good GROUP BY run, attempt
            UNION ALL BY NAME
            SELECT run, attempt, time AS started, {", ".join(started)}, {plan}
            FROM landing WHERE good AND type = 'run_started'
            UNION ALL BY NAME
            SELECT run, attempt, time AS finished, state, step AS final_step, error, seconds
            FROM landing WHERE good AND type = 'run_finished'
            UNION ALL BY NAME
            SELECT * FROM attempts WHERE run IN (SELECT run FROM landing)
        ) GROUP BY run, attempt
        """
    ).fetchall()
    connection.execute("DELETE FROM attempts WHERE run IN (SELECT run FROM merged)").fetchall()
    connection.execute("INSERT INTO attempts BY NAME SELECT * FROM merged").fetchall()


def summarise_metrics(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring `metric_summaries` up to date for the landed runs."""
    runs = "run IN (SELECT DISTINCT run FROM landing WHERE good AND type = 'metric')"
    connection.execute(f"DELETE FROM metric_summaries WHERE {runs}").fetchall()
    connection.execute(
        f"""
        INSERT INTO metric_summaries BY NAME
        SELECT run, name, count(*) AS points, count(*) FILTER (NOT finite) AS not_finite,
               sum(value) FILTER (finite) AS total, min(step) AS first_step, max(step) AS last_step,
               arg_max_null(value, step) AS last_value,
               min(value) FILTER (finite) AS min_value, arg_min(step, value) FILTER (finite) AS min_step,
               max(value) FILTER (finite) AS max_value, arg_max(step, value) FILTER (finite) AS max_step
        FROM (SELECT *, coalesce(isfinite(value), false) AS finite FROM metrics WHERE {runs}) GROUP BY run, name
        """
    ).fetchall()


def forget_runs(connection: duckdb.DuckDBPyConnection, runs: list[str]) -> None:
    """Delete every row of these runs."""
    names = ("attempts", "metric_summaries", "internal.files", *(table.table for table in TABLES))
    for name in names if runs else ():
        connection.execute(f"DELETE FROM {name} WHERE run IN (SELECT unnest(?::VARCHAR[]))", [runs]).fetchall()


def _valid_stamp() -> str:
    return "time IS NOT NULL AND attempt >= 1 AND type IS NOT NULL"


def _valid_fields() -> str:
    needs = {table.event: [name for name in table.key if name != "run" and name not in _OPTIONAL] for table in TABLES}
    needs["run_started"] = ["experiment", "stage"]
    needs["run_finished"] = ["state"]
    return " OR ".join(
        " AND ".join([f"type = '{event}'", *(f"{name} IS NOT NULL" for name in names)])
        for event, names in needs.items()
    )


def _may_overlap(connection: duckdb.DuckDBPyConnection, table: EventTable) -> bool:
    """Whether a landed row can have the key of a stored row; spares a scan of all metrics at an ordinary sync."""
    if table.table != "metrics":
        return True
    query = """
        SELECT count(*) FROM metric_summaries old
        JOIN (SELECT run, name, min(step) AS first_step FROM landing WHERE good AND type = 'metric' GROUP BY run, name)
            new USING (run, name)
        WHERE new.first_step <= old.last_step
    """
    return _count(connection, query) > 0


def _give_way(connection: duckdb.DuckDBPyConnection, table: EventTable) -> int:
    """Delete from each of `fresh` and the table the rows whose attempt is passed by the other; rows deleted."""
    same = " AND ".join(f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in table.key)
    _count(connection, f"DELETE FROM fresh new USING {table.table} old WHERE {same} AND old.attempt > new.attempt")
    return _count(connection, f"DELETE FROM {table.table} old USING fresh new WHERE {same}")


def _count(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    (row,) = connection.execute(statement).fetchall()
    return int(row[0])
