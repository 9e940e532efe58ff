from __future__ import annotations

import threading

import pytest

from runners.errors import RunError
from runners.prefetch import AHEAD, Prefetch


def test_what_comes_next_is_made_meanwhile_and_no_more_than_that() -> None:
    made: list[int] = []
    enough = threading.Event()

    def make(step: int) -> int:
        made.append(step)
        if len(made) == AHEAD + 1:
            enough.set()
        return step * step

    with Prefetch(make, 100) as values:
        assert values.take(0) == 0
        assert enough.wait(10), "the steps after the one that was taken"
        assert made == list(range(AHEAD + 1))
        assert [values.take(step) for step in range(1, 6)] == [1, 4, 9, 16, 25]
        assert values.take(2) == 4, "a step back"
        assert values.take(50) == 2500, "and a leap"
    with Prefetch(divmod, 100) as pairs:
        assert [pairs.take(7, 2), pairs.take(8, 2), pairs.take(8, 3)] == [(3, 1), (4, 0), (2, 2)]
    assert max(made) <= 50 + AHEAD


def test_nothing_is_made_after_the_last_step() -> None:
    made: list[int] = []
    with Prefetch(made.append, 3) as values:
        for step in range(3):
            values.take(step)
    assert made == [0, 1, 2]


def test_an_error_is_raised_by_the_step_that_needs_the_value() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise RunError("the disk is gone")
        return step

    with Prefetch(make, 10) as values:
        assert [values.take(step) for step in range(2)] == [0, 1]
        with pytest.raises(RunError, match="the disk is gone"):
            values.take(2)
        assert values.take(3) == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_a_stop_in_the_middle_leaves_no_thread_behind() -> None:
    with pytest.raises(KeyboardInterrupt), Prefetch(str, 10) as values:
        assert values.take(0) == "0"
        raise KeyboardInterrupt
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
