"""The query commands, as a shell sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from specc.cli.queries import compare, runs, sql, sync
from tests.conftest import Specc
from tests.store.run_trees import write_events, write_quickstart

GROUP = click.Group(commands={"runs": runs, "compare": compare, "sql": sql, "sync": sync})


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_quickstart(tmp_path)
    return tmp_path


def call(runs_dir: Path, *arguments: str) -> Result:
    environment = {"SPECC_RUNS": str(runs_dir), "COLUMNS": "80"}
    return CliRunner().invoke(GROUP, list(arguments), env=environment)


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs",),
        ("runs", "quickstart", "--state", "finished", "--limit", "1"),
        ("runs", "--format", "csv"),
        ("runs", "--format", "markdown"),
        ("compare", "quickstart", "quickstart@rope"),
        ("compare", "quickstart", "quickstart@rope", "--format", "markdown"),
        ("sql", "SELECT count(*) FROM metrics"),
        ("sql",),
        ("sync",),
    ],
)
def test_a_command_synchronises_and_answers_without_colour(tree: Path, arguments: tuple[str, ...]) -> None:
    answer = call(tree, *arguments)
    assert (answer.exit_code, answer.stderr) == (0, "")
    assert answer.stdout.strip()
    assert "\x1b" not in answer.stdout


@pytest.mark.parametrize("command", ["runs", "sync"])
def test_a_query_says_nothing_that_was_not_asked(tree: Path, command: str, specc: Specc) -> None:
    """In a process of its own: bindings that end with it have the last word."""
    said = specc(command, "--runs", str(tree))
    assert (said.code, said.err) == (0, "")


def test_json_is_json(tree: Path) -> None:
    assert len(json.loads(call(tree, "runs", "--format", "json").stdout)) == 4
    assert json.loads(call(tree, "compare", "quickstart", "quickstart@rope", "--format", "json").stdout)["results"]
    counted = call(tree, "sql", "SELECT count(*) AS n FROM runs", "--format", "json").stdout
    assert json.loads(counted) == [{"n": 4}]


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "nothing"),
        ("compare", "quickstart", "quickstart@rop"),
        ("sql", "SELEC 1"),
        ("sql", "DROP TABLE metrics"),
        ("sync", "--runs", "/nowhere"),
        ("runs", "--runs", "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(tree: Path, arguments: tuple[str, ...]) -> None:
    answer = call(tree, *arguments)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    assert isinstance(answer.exception, SystemExit)


def test_problems_go_to_stderr(tree: Path) -> None:
    path = write_events(tree, "quickstart/pretrain-3f2a9c1b77d0", [])
    with path.open("a") as file:
        file.write("garbage\n")
    answer = call(tree, "sql", "SELECT 1 AS x", "--format", "csv")
    assert answer.stdout == "x\n1\n"
    assert answer.stderr == "warning: quickstart/pretrain-3f2a9c1b77d0/events.jsonl: skipped 1 unreadable line\n"


def test_a_query_beside_another_reader_answers_with_what_there_is(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call(tree, "sync")
    reader = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(1, flush=True); sys.stdin.read()"
    )
    monkeypatch.setattr("specc.cli.queries._PATIENCE_SECONDS", 0.1)
    command = [sys.executable, "-c", reader, str(tree / "specc.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        assert call(tree, "sql", "SELECT 1").stderr == ""
        write_events(tree, "quickstart/pretrain-ffffffffffff", [{"type": "nothing", "time": 1.0, "attempt": 1}])
        answer = call(tree, "sql", "SELECT count(*) AS n FROM runs", "--format", "csv")
        assert (answer.exit_code, answer.stdout) == (0, "n\n4\n")
        assert answer.stderr.startswith(f"warning: not up to date: {tree / 'specc.duckdb'} is in use by process")
        other.stdin.close()


def test_importing_the_commands_loads_neither_duckdb_nor_rich() -> None:
    code = "import sys, specc.cli.queries; print(sorted({'duckdb', 'rich', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
