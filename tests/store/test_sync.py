"""Every event arrives exactly once, whatever happens to the files."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from specc.store import sync as syncing
from specc.store.database import DatabaseLockedError, StoreError, open_for_reading
from specc.store.sync import sync
from tests.store.run_trees import T0, finished, metric, started, write_events, write_plan, write_quickstart

RUN = "quickstart/pretrain-3f2a9c1b77d0"


def ask(runs_dir: Path, query: str) -> list[tuple[Any, ...]]:
    with open_for_reading(runs_dir / "specc.duckdb") as connection:
        return connection.execute(query).fetchall()


def contents(runs_dir: Path) -> dict[str, list[tuple[Any, ...]]]:
    with open_for_reading(runs_dir / "specc.duckdb") as connection:
        names = connection.execute("""SELECT "table" FROM about WHERE "column" IS NULL""").fetchall()
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for (name,) in names}


def test_a_repeated_sync_changes_nothing(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    first = sync(tmp_path)
    before = contents(tmp_path)
    assert (first.runs, first.plans, first.problems, first.rebuilt) == (4, 2, (), True)
    second = sync(tmp_path)
    assert (second.runs, second.rows, second.rebuilt) == (0, 0, False)
    assert contents(tmp_path) == before


def test_only_new_bytes_are_read(tmp_path: Path) -> None:
    write_events(tmp_path, RUN, [started(RUN), metric(1, "train/loss", 5.0)])
    sync(tmp_path)
    path = write_events(tmp_path, RUN, [metric(2, "train/loss", 4.0)])
    report = sync(tmp_path)
    assert report.bytes_read == len(path.read_bytes().splitlines(keepends=True)[-1])
    assert ask(tmp_path, "SELECT step, value FROM metrics ORDER BY step") == [(1, 5.0), (2, 4.0)]


def test_the_documented_question_works(tmp_path: Path) -> None:
    write_events(tmp_path, RUN, [metric(step, "train/loss", float(step)) for step in range(9)])
    sync(tmp_path)
    rows = ask(tmp_path, "SELECT run, step, value FROM metrics WHERE name = 'train/loss' ORDER BY step DESC LIMIT 5")
    assert rows == [(RUN, step, float(step)) for step in (8, 7, 6, 5, 4)]


def test_a_torn_last_line_waits_for_its_end(tmp_path: Path) -> None:
    path = write_events(tmp_path, RUN, [metric(1, "train/loss", 5.0)])
    line = json.dumps(metric(2, "train/loss", 4.0))
    with path.open("a") as file:
        file.write(line[:40])
    assert sync(tmp_path).problems == ()
    assert ask(tmp_path, "SELECT count(*) FROM metrics") == [(1,)]
    with path.open("a") as file:
        file.write(line[40:] + "\n")
    assert sync(tmp_path).rows == 1
    assert ask(tmp_path, "SELECT step, value FROM metrics ORDER BY step") == [(1, 5.0), (2, 4.0)]


@pytest.mark.parametrize(
    "garbage",
    [
        b'{"type": "metric", "time": 1',
        b"not json",
        b"42",
        b"\x00\x00\x00\x00",
        b"\xff\xfe",
        b'{"type": "metric", "time": 1.0, "attempt": 1, "step": "seven", "name": "x", "value": 1}',
        b'{"type": "metric", "time": 1e300, "attempt": 1, "step": 7, "name": "x", "value": 1}',
        b'{"type": "metric", "attempt": 1, "step": 7, "name": "x", "value": 1}',
        b'{"type": "metric", "time": 1.0, "attempt": 1, "name": "x", "value": 1}',
        b"{}",
    ],
)
def test_a_malformed_line_is_counted_and_the_rest_is_read(tmp_path: Path, garbage: bytes) -> None:
    path = write_events(tmp_path, RUN, [metric(1, "train/loss", 5.0)])
    with path.open("ab") as file:
        file.write(garbage + b"\n")
    write_events(tmp_path, RUN, [metric(2, "train/loss", 4.0)])
    assert sync(tmp_path).problems == (f"{RUN}/events.jsonl: skipped 1 unreadable line",)
    assert ask(tmp_path, "SELECT step FROM metrics ORDER BY step") == [(1,), (2,)]
    assert ask(tmp_path, "SELECT unreadable_lines FROM runs") == [(1,)]
    assert sync(tmp_path).problems == ()


def test_an_event_of_a_later_version_is_reported_as_unknown(tmp_path: Path) -> None:
    write_events(tmp_path, RUN, [{"type": "energy", "time": T0, "attempt": 1, "joules": 3}, metric(1, "x", 1.0)])
    assert sync(tmp_path).problems == (f"{RUN}/events.jsonl: skipped 1 event of unknown type",)


def test_a_line_longer_than_the_parser_expects_is_read(tmp_path: Path) -> None:
    text = "y" * (40 << 20)
    sample = {"type": "sample", "time": T0, "attempt": 1, "step": 1, "prompt": "x", "text": text}
    write_events(tmp_path, RUN, [metric(1, "x", 1.0), sample, metric(2, "x", 1.0)])
    assert sync(tmp_path).problems == ()
    assert ask(tmp_path, "SELECT length(text) FROM samples") == [(len(text),)]


def test_a_diverged_loss_stays_not_a_number(tmp_path: Path) -> None:
    write_events(tmp_path, RUN, [metric(1, "train/loss", 2.0), metric(2, "train/loss", float("nan"))])
    sync(tmp_path)
    assert ask(tmp_path, "SELECT isnan(value) FROM metrics WHERE step = 2") == [(True,)]
    assert ask(tmp_path, "SELECT not_finite, min_value, min_step FROM metric_summaries") == [(1, 2.0, 1)]


@pytest.mark.parametrize("together", [True, False])
def test_after_a_restart_the_higher_attempt_counts(tmp_path: Path, together: bool) -> None:
    first = [started(RUN), *[metric(step, "train/loss", 1.0) for step in range(1, 51)]]
    again = [
        started(RUN, attempt=2, time=T0 + 60, resumed_from_step=40),
        *[metric(step, "train/loss", 2.0, attempt=2) for step in range(41, 61)],
        finished(attempt=2, time=T0 + 70, seconds=10.0, step=60),
    ]
    write_events(tmp_path, RUN, first)
    if not together:
        sync(tmp_path)
    write_events(tmp_path, RUN, again)
    report = sync(tmp_path)
    assert report.replaced == 10
    rows = ask(
        tmp_path, "SELECT attempt, min(step), max(step), count(*), sum(value) FROM metrics GROUP BY 1 ORDER BY 1"
    )
    assert rows == [(1, 1, 40, 40, 40.0), (2, 41, 60, 20, 40.0)]
    (run,) = ask(tmp_path, "SELECT state, attempts, resumed_from_step, last_step, wall_seconds FROM runs")
    # The first attempt never said how long it took: its last event, at step 50, was 5 s after its start.
    assert run == ("finished", 2, 40, 60, pytest.approx(15.0))


def test_a_late_event_of_an_earlier_attempt_does_not_count(tmp_path: Path) -> None:
    write_events(tmp_path, RUN, [metric(7, "train/loss", 2.0, attempt=2)])
    sync(tmp_path)
    write_events(tmp_path, RUN, [metric(7, "train/loss", 1.0, attempt=1)])
    assert sync(tmp_path).replaced == 1
    assert ask(tmp_path, "SELECT value, attempt FROM metrics") == [(2.0, 2)]


def test_a_duplicated_event_counts_once(tmp_path: Path) -> None:
    event = metric(7, "train/loss", 2.0)
    write_events(tmp_path, RUN, [event, event])
    sync(tmp_path)
    write_events(tmp_path, RUN, [event])
    sync(tmp_path)
    assert ask(tmp_path, "SELECT count(*) FROM metrics") == [(1,)]
    assert ask(tmp_path, "SELECT points FROM metric_summaries") == [(1,)]


@pytest.mark.parametrize("how", ["deleted", "other version", "no database"])
def test_a_rebuilt_database_is_equal(tmp_path: Path, how: str) -> None:
    write_quickstart(tmp_path)
    for step in (401, 402):
        write_events(tmp_path, RUN, [metric(step, "train/loss", 1.0, attempt=2)])
        sync(tmp_path)
    before = contents(tmp_path)
    database = tmp_path / "specc.duckdb"
    if how == "other version":
        connection = duckdb.connect(str(database))
        connection.execute("UPDATE internal.about SET schema_version = 'older'").fetchall()
        connection.close()
    else:
        database.unlink()
    if how == "no database":
        database.write_bytes(b"something else" * 1000)
    assert sync(tmp_path).rebuilt
    assert contents(tmp_path) == before


def test_a_replaced_file_is_read_again(tmp_path: Path) -> None:
    path = write_events(tmp_path, RUN, [metric(step, "train/loss", 1.0) for step in range(10)])
    sync(tmp_path)
    path.unlink()
    write_events(tmp_path, RUN, [metric(step, "train/loss", 2.0) for step in range(100, 120)])
    assert sync(tmp_path).problems == (f"{RUN}/events.jsonl was replaced and is read again from its start",)
    assert ask(tmp_path, "SELECT min(step), max(step), count(*) FROM metrics") == [(100, 119, 20)]


def test_a_truncated_file_is_read_again(tmp_path: Path) -> None:
    path = write_events(tmp_path, RUN, [metric(step, "train/loss", 1.0) for step in range(10)])
    sync(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    assert len(sync(tmp_path).problems) == 1
    assert ask(tmp_path, "SELECT count(*) FROM metrics") == [(4,)]
    assert ask(tmp_path, "SELECT last_step FROM runs") == [(3,)]


def test_a_removed_run_leaves_the_database(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    sync(tmp_path)
    shutil.rmtree(tmp_path / "quickstart@rope")
    sync(tmp_path)
    assert ask(tmp_path, "SELECT DISTINCT experiment FROM runs") == [("quickstart",)]
    assert ask(tmp_path, "SELECT DISTINCT name FROM experiments") == [("quickstart",)]
    assert ask(tmp_path, "SELECT count(*) FROM settings WHERE experiment = 'quickstart@rope'") == [(0,)]


def test_an_unreadable_manifest_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    folder = write_plan(tmp_path, "other", "cccccccccccc", {})
    (folder / "manifest.json").write_text('{"version": 99}')
    (problem,) = sync(tmp_path).problems
    assert "manifest version 99" in problem
    assert ask(tmp_path, "SELECT count(*) FROM plans") == [(2,)]
    assert sync(tmp_path).problems == ()


def test_a_rebuild_larger_than_a_batch_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_quickstart(tmp_path)
    sync(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "specc.duckdb").unlink()
    monkeypatch.setattr(syncing, "BATCH_BYTES", 3000)
    monkeypatch.setattr("specc.store.files._BLOCK", 1000)
    sync(tmp_path)
    assert contents(tmp_path) == before


WRITER = """
import json, os, sys, time
handle = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for step in range(int(sys.argv[2])):
    line = json.dumps({"type": "metric", "time": 1.0 + step, "attempt": 1, "step": step, "name": "train/loss",
                       "value": step * 0.5}).encode() + b"\\n"
    os.write(handle, line[:30])
    if step % 50 == 0:
        time.sleep(0.03)
    os.write(handle, line[30:])
"""


def test_every_row_arrives_once_while_processes_append(tmp_path: Path) -> None:
    count, writers = 4000, []
    for index in range(2):
        folder = tmp_path / "live" / f"pretrain-{index:012x}"
        folder.mkdir(parents=True)
        command = [sys.executable, "-c", WRITER, str(folder / "events.jsonl"), str(count)]
        writers.append(subprocess.Popen(command))
    syncs = 0
    while any(writer.poll() is None for writer in writers):
        assert sync(tmp_path).problems == ()
        syncs += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    sync(tmp_path)
    assert syncs >= 2
    rows = ask(tmp_path, "SELECT run, count(*), count(DISTINCT step), sum(value) FROM metrics GROUP BY run")
    assert len(rows) == 2
    assert all(row[1:] == (count, count, 0.5 * count * (count - 1) / 2) for row in rows)
    points = ask(tmp_path, "SELECT points, last_step FROM metric_summaries")
    assert points == [(count, count - 1)] * 2


DYING = """
import os, sys
from pathlib import Path
import specc.store.sync as syncing
apply = syncing._apply
def die(connection, *arguments):
    apply(connection, *arguments)
    if sys.argv[2] == "after":
        connection.commit()
    os._exit(9)
syncing._apply = die
syncing.sync(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_sync_that_dies_around_its_commit_leaves_a_usable_database(tmp_path: Path, when: str) -> None:
    write_events(tmp_path, RUN, [metric(step, "train/loss", 1.0) for step in range(10)])
    died = subprocess.run([sys.executable, "-c", DYING, str(tmp_path), when], check=False)
    assert died.returncode == 9
    sync(tmp_path)
    assert ask(tmp_path, "SELECT count(*) FROM metrics") == [(10,)]


HOLDER = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_locked_database_is_said_plainly(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    sync(tmp_path)
    database = tmp_path / "specc.duckdb"
    command = [sys.executable, "-c", HOLDER, str(database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(DatabaseLockedError, match=f"in use by process {holder.pid}"):
            sync(tmp_path, wait_seconds=0.2)
        holder.stdin.close()
    sync(tmp_path)


@pytest.mark.parametrize(
    ("host", "pid", "age", "state"),
    [
        ("here", "alive", 9999, "running"),
        ("here", "dead", 0, "interrupted"),
        ("elsewhere", "alive", 0, "running"),
        ("elsewhere", "alive", 9999, "interrupted"),
    ],
)
def test_a_run_without_an_end_is_running_or_interrupted(
    tmp_path: Path, host: str, pid: str, age: float, state: str
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    number = os.getpid() if pid == "alive" else ended.pid
    name = socket.gethostname() if host == "here" else "elsewhere"
    path = write_events(tmp_path, RUN, [started(RUN, host=name, pid=number)])
    os.utime(path, (time.time() - age,) * 2)
    sync(tmp_path)
    assert ask(tmp_path, "SELECT state FROM runs") == [(state,)]


def test_a_run_becomes_interrupted_without_a_new_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(tmp_path, RUN, [started(RUN)])
    sync(tmp_path)
    assert ask(tmp_path, "SELECT state FROM runs") == [("running",)]
    monkeypatch.setattr("specc.store.files.QUIET_SECONDS", -1.0)
    sync(tmp_path)
    assert ask(tmp_path, "SELECT state FROM runs") == [("interrupted",)]


def test_a_run_knows_its_plan_and_its_predictions(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    sync(tmp_path)
    query = "SELECT p.parameters_total FROM runs r JOIN plans p USING (plan) WHERE r.short_id = '3f2a9c1b'"
    assert ask(tmp_path, query) == [(4_210_688,)]
    query = f"SELECT predicted, measured, round(relative_error, 6) FROM predictions_vs_measurements WHERE run = '{RUN}'"
    assert ask(tmp_path, query + " AND name = 'step_time_s'") == [(0.5, 0.55, 0.1)]
    assert ask(tmp_path, query + " AND name = 'cost_usd'") == [(0.02, None, None)]


def test_a_baseline_is_known_as_one(tmp_path: Path) -> None:
    write_quickstart(tmp_path)
    sync(tmp_path)
    rows = ask(tmp_path, "SELECT DISTINCT model, baseline FROM evaluations ORDER BY model")
    assert rows == [("byte_trigram", True), ("pretrain", False)]


def test_every_table_and_column_is_described(tmp_path: Path) -> None:
    sync(tmp_path)
    assert ask(tmp_path, """SELECT "table", "column" FROM about WHERE holds IS NULL""") == []


def test_no_run_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no run directory"):
        sync(tmp_path / "nowhere")


def test_duckdb_closes_a_pending_result_only_when_it_is_fetched() -> None:
    """The trap that every `.fetchall()` in the store is there for."""
    connection = duckdb.connect()
    assert not hasattr(connection.sql("SELECT 1"), "fetchone")
    connection.execute("CREATE TABLE t AS SELECT * FROM range(1000000)").fetchall()
    assert len(connection.execute("FROM t").fetchall()) == 1_000_000
    connection.close()


def test_every_statement_of_the_store_is_fetched() -> None:
    folder = Path(syncing.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "fetchone" not in text, path
        # `answer` in sql.py is fetched on the next line but one.
        executed = text.count(".execute(") - (path.name == "sql.py")
        assert executed == text.count(").fetchall()"), path
