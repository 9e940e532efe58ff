"""What the next steps need is made while this one computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")
AHEAD = 2
"""Steps that are made ahead: one is being taken, one is ready, and what a slow read delays is caught up with."""


class Prefetch(Generic[T]):
    """Values of a pure function of the step, made by a thread; what is ahead of `take` is bounded.

    What else the function takes is for `take` to say, and is expected to be the same at the next steps.

    Whoever steps back or skips steps only loses what was made ahead. An error is raised by the `take` of its step. The
    thread does nothing between two values, so a stop waits for one of them at most.
    """

    def __init__(self, make: Callable[..., T], steps: int) -> None:
        """`steps` is how many there are in all: nothing is made beyond them."""
        self._make, self._steps = make, steps
        self._ahead: dict[tuple[int, ...], Future[T]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def take(self, step: int, *more: int) -> T:
        """The value of a step; those after it are asked for."""
        wanted = [(later, *more) for later in range(step, min(step + AHEAD + 1, self._steps))]
        for other in self._ahead.keys() - {*wanted}:
            self._ahead.pop(other).cancel()
        for later in wanted:
            if later not in self._ahead:
                self._ahead[later] = self._thread.submit(self._make, *later)
        return self._ahead.pop((step, *more)).result()
