"""Shows how far a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

LINE_EVERY = 5.0
"""Seconds between two plain lines at least: a log is read by people too."""


@dataclass
class TrainingProgress:
    """The state of the training display."""

    console: Console
    total: int
    """Steps."""
    bar: Progress | None = None
    task: TaskID | None = None
    said: float = 0.0

    def __enter__(self) -> TrainingProgress:
        if self.console.is_terminal:
            done, state = TextColumn("step {task.completed:,}/{task.total:,}"), TextColumn("{task.fields[text]}")
            self.bar = Progress(done, BarColumn(None), state, console=self.console, expand=True)
            self.task = self.bar.add_task("", total=self.total, text="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def show(self, step: int, loss: float, learning_rate: float, tokens_per_second: float, seconds_left: float) -> None:
        """Report the state after `step` steps."""
        text = f"loss {loss:.4f}  lr {learning_rate:.2e}  {tokens_per_second:,.0f} tokens/s  {clock(seconds_left)} left"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=step, text=text)
        elif time.monotonic() - self.said >= LINE_EVERY or step == self.total:
            self.said = time.monotonic()
            self.console.print(f"step {step:,}/{self.total:,}  {text}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text)


def clock(seconds: float) -> str:
    """Such as `1:23` or `2:01:23`; days keep counting as hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
