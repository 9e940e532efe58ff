"""SQL of the user reads the database and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specc.store.database import StoreError
from specc.store.formats import format_rows
from specc.store.sql import query, tables
from specc.store.sync import sync
from tests.store.run_trees import write_quickstart


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs_dir = tmp_path_factory.mktemp("runs")
    write_quickstart(runs_dir)
    sync(runs_dir)
    (runs_dir / "secret.csv").write_text("a,b\n1,2\n")
    return runs_dir / "specc.duckdb"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "FROM runs",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "DESCRIBE runs",
        "SHOW TABLES",
        "SUMMARIZE metrics",
        "SELECT 1;",
        "SELECT run, step, value FROM metrics WHERE name = 'train/loss' ORDER BY step DESC LIMIT 5",
    ],
)
def test_a_question_is_answered(database: Path, text: str) -> None:
    assert query(database, text).rows


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO metrics SELECT * FROM metrics",
        "UPDATE metrics SET value = 0",
        "DELETE FROM metrics",
        "CREATE TABLE t (a INT)",
        "CREATE TEMP TABLE t (a INT)",
        "DROP TABLE metrics",
        "ALTER TABLE metrics ADD COLUMN x INT",
        "ATTACH '{folder}/other.duckdb' AS other",
        "DETACH specc",
        "COPY metrics TO '{folder}/out.csv'",
        "COPY metrics FROM '{folder}/secret.csv'",
        "EXPORT DATABASE '{folder}/out'",
        "IMPORT DATABASE '{folder}/out'",
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM read_text('{folder}/secret.csv')",
        "SELECT * FROM read_blob('{folder}/secret.csv')",
        "SELECT * FROM read_json('{folder}/secret.csv')",
        "SELECT * FROM read_parquet('{folder}/secret.csv')",
        "SELECT * FROM sniff_csv('{folder}/secret.csv')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM read_csv('https://example.org/x.csv')",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE INSERT INTO metrics SELECT * FROM metrics",
        "INSTALL httpfs",
        "LOAD json",
        "SET enable_external_access = true",
        "SET threads = 1",
        "RESET threads",
        "PRAGMA database_list",
        "CALL range(3)",
        "CHECKPOINT",
        "VACUUM",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "USE memory",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE metrics",
        "SELECT getenv('HOME')",
        "SELECT * FROM database",
        "",
        "-- nothing",
        "SELEC 1",
    ],
)
def test_everything_else_is_refused_in_one_line(database: Path, text: str) -> None:
    before = sorted(database.parent.rglob("*"))
    with pytest.raises(StoreError) as refused:
        query(database, text.format(folder=database.parent))
    assert str(refused.value).count("\n") == 0
    assert sorted(database.parent.rglob("*")) == before


def test_a_query_that_takes_too_long_is_stopped(database: Path) -> None:
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t"
    with pytest.raises(StoreError, match=r"longer than 0\.3 s"):
        query(database, endless, timeout_seconds=0.3)


def test_the_tables_are_listed_with_what_they_hold(database: Path) -> None:
    found = dict(tables(database).rows)
    assert found["metrics"] == "What a run reported by step; after a restart only the latest attempt at a step"


def test_forms_of_an_answer() -> None:
    columns, rows = ("a", "b|c", "a"), [(1, None, float("nan")), (23, 'x "y"', 0.25)]
    assert format_rows(columns, rows, "csv", 80) == 'a,b|c,a\n1,,nan\n23,"x ""y""",0.25'
    assert json.loads(format_rows(columns, rows, "json", 80)) == [
        {"a": 1, "b|c": None, "a_2": "NaN"},
        {"a": 23, "b|c": 'x "y"', "a_2": 0.25},
    ]
    markdown = '| a | b\\|c | a |\n| ---: | --- | ---: |\n| 1 | - | NaN |\n| 23 | x "y" | 0.25 |'
    assert format_rows(columns, rows, "markdown", 80) == markdown
    table = ' a  b|c       a\n--  -----  ----\n 1  -       NaN\n23  x "y"  0.25'
    assert format_rows(columns, rows, "table", 80) == table


@pytest.mark.parametrize("width", [20, 40, 80, 160])
@pytest.mark.parametrize("text", ["FROM runs", "FROM metrics LIMIT 5", "FROM settings"])
def test_a_table_fits_its_terminal(database: Path, text: str, width: int) -> None:
    found = query(database, text)
    lines = format_rows(found.columns, found.rows, "table", width).splitlines()
    assert max(len(line) for line in lines) <= width
