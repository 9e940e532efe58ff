"""Addresses of runs, and the table of runs."""

from __future__ import annotations

import pytest

from specc.store import runs_text
from specc.store.database import StoreError, open_for_reading
from specc.store.queries import Run, list_runs, resolve
from specc.store.sync import sync
from tests.store.run_trees import T0, finished, metric, started, write_events, write_quickstart

AGAIN = "quickstart/pretrain-3f2a9c1b77d0-2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, ...]:
    runs_dir = tmp_path_factory.mktemp("runs")
    write_quickstart(runs_dir)
    again = {**started(AGAIN[:-2], time=T0 + 500), "run": AGAIN}
    failure = finished(state="failed", step=3, error="RuntimeError: loss is NaN\n  at step 3")
    write_events(runs_dir, AGAIN, [again, metric(3, "train/loss", float("nan")), failure])
    sync(runs_dir)
    with open_for_reading(runs_dir / "specc.duckdb") as connection:
        return list_runs(connection)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("quickstart@rope", ["quickstart@rope/pretrain-4c2a9c1b77d0", "quickstart@rope/evaluate-88aa01bc33dd"]),
        ("quickstart", ["quickstart/evaluate-77aa01bc33dd", AGAIN]),
        ("quickstart/pretrain-3f2a9c1b77d0", ["quickstart/pretrain-3f2a9c1b77d0"]),
        ("quickstart@rope/pretrain-4c2a", ["quickstart@rope/pretrain-4c2a9c1b77d0"]),
        ("4c2a", ["quickstart@rope/pretrain-4c2a9c1b77d0"]),
        ("4c2a9c1b77d0", ["quickstart@rope/pretrain-4c2a9c1b77d0"]),
        ("3f2a9c1b", ["quickstart/pretrain-3f2a9c1b77d0"]),
        ("3f2a9c1b-2", [AGAIN]),
        ("@latest", [AGAIN]),
    ],
)
def test_an_address_means_runs(runs: tuple[Run, ...], address: str, expected: list[str]) -> None:
    assert [run.run for run in resolve(runs, address).runs] == expected


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("quikstart@rope", "no experiment or run is called 'quikstart@rope'; did you mean quickstart@rope"),
        ("zzz", "no experiment or run is called 'zzz'; there is quickstart, quickstart@rope"),
        ("3f2a", "'3f2a' means 2 runs: quickstart/pretrain-3f2a9c1b77d0, quickstart/pretrain-3f2a9c1b77d0-2"),
        ("4c2", "'4c2' is too short for an id; give at least 4 digits"),
        ("4c2b", "did you mean 4c2a9c1b"),
        ("quickstart/pretrain-ffff", "did you mean quickstart/pretrain-3f2a9c1b77d0"),
    ],
)
def test_an_address_that_means_nothing_names_what_there_is(runs: tuple[Run, ...], address: str, message: str) -> None:
    with pytest.raises(StoreError) as refused:
        resolve(runs, address)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_is_known_by_the_evaluation_of_its_stage(runs: tuple[Run, ...]) -> None:
    by_id = {run.short_id: run for run in runs}
    assert by_id["3f2a9c1b"].evaluation == ("bits_per_byte", pytest.approx(2.0713))
    assert by_id["77aa01bc"].evaluation == ("bits_per_byte", pytest.approx(2.0713))
    assert by_id["3f2a9c1b-2"].evaluation is None
    assert by_id["3f2a9c1b"].validation_loss == pytest.approx(1.9)
    assert by_id["3f2a9c1b"].tokens_per_second == pytest.approx(12546.1)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_table_of_runs_fits_its_terminal(runs: tuple[Run, ...], width: int) -> None:
    lines = [line.plain for line in runs_text.render(runs, width)]
    assert max(len(line) for line in lines) <= width
    assert lines[0].startswith("id")
    assert any("RuntimeError: loss is NaN" in line for line in lines)
    assert not any("\n" in line for line in lines)


def test_a_wide_terminal_shows_every_column(runs: tuple[Run, ...]) -> None:
    header = runs_text.render(runs, 160)[0].plain.split()
    expected = "id experiment stage state step train valid bits/B tok/s took started"
    assert header == expected.split()
