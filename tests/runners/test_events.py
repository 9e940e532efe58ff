from pathlib import Path

import pytest

from runners.errors import RunError
from runners.events import has_finished, open_events, read_events


def test_events_are_read_back_in_order_with_their_attempt(tmp_path: Path) -> None:
    with open_events(tmp_path) as events:
        events.write("run_started", run="a/b")
        events.write("sample", step=1, prompt="é", text="\n")
    kinds = [(event["type"], event["attempt"]) for event in read_events(tmp_path)]
    assert kinds == [("run_started", 1), ("sample", 1)]
    assert [event.get("prompt") for event in read_events(tmp_path)] == [None, "é"]


def test_a_torn_last_line_is_ignored_and_the_next_writer_starts_a_new_one(tmp_path: Path) -> None:
    with open_events(tmp_path) as events:
        events.write("run_started")
        events.write("metric", step=1, name="train/loss", value=2.0)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert [event["type"] for event in read_events(tmp_path)] == ["run_started"]
    with open_events(tmp_path) as events:
        assert events.attempt == 2
        events.write("run_started")
    assert [event["attempt"] for event in read_events(tmp_path)] == [1, 2]
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_every_cut_leaves_the_whole_lines_readable(tmp_path: Path, cut: int) -> None:
    with open_events(tmp_path) as events:
        events.write("run_started")
        events.write("sample", step=1, prompt="", text="ünïcode")
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [event["type"] for event in read_events(tmp_path)] == ["run_started"]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with open_events(tmp_path), pytest.raises(RunError, match="another process is working"):
        open_events(tmp_path)
    open_events(tmp_path).close()


def test_a_run_has_finished_only_when_it_said_so_last(tmp_path: Path) -> None:
    assert not has_finished(tmp_path)
    with open_events(tmp_path) as events:
        events.write("run_finished", state="failed", step=None, error="x", seconds=1.0)
        assert not has_finished(tmp_path)
        events.write("run_finished", state="finished", step=1, error=None, seconds=1.0)
    assert has_finished(tmp_path)
