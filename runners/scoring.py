"""Suites of lm-eval on a model in training: the same tasks as after it, as metrics of a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from runners.evaluate import Evaluation, Quietly, Suite, place_data, records, run_suite
from runners.events import Events
from runners.ranks import Ranks
from runners.run import Run, open_data


@dataclass(frozen=True)
class Scoring:
    """What is scored on the way, and how often."""

    suites: tuple[str, ...]
    """Files beside the program, each a group of lm-eval tasks."""
    data: tuple[str, ...]
    """Data sets whose held-out documents are scored."""
    every: int
    """Steps."""
    limit: int | None
    """Documents per task at most, the first ones; None for all."""
    batch_size: int


@dataclass(frozen=True)
class Scored:
    """One number of one task."""

    name: str
    """`evaluation/SUITE/TASK/METRIC`."""
    value: float


@dataclass(frozen=True)
class Scorer:
    """The suites of a run with their data in place."""

    run: Run
    settings: Scoring
    suites: tuple[Suite, ...]
    max_length: int
    cache: type[Any] | None
    quietly: Quietly

    def scores(self, model: nn.Module) -> Iterator[Scored]:
        """Every number of every task, on the weights as they are. Every process has to call it."""
        asked = Evaluation(
            self.run.stage, (), self.settings.suites, self.settings.data, self.settings.limit,
            self.settings.batch_size, self.max_length,
        )  # fmt: skip
        for suite in self.suites:
            results = run_suite(model, self.cache, self.run, suite, asked, self.quietly)
            for record in records(self.run.stage, suite.name, results):
                yield Scored(f"evaluation/{suite.name}/{record['task']}/{record['metric']}", record["value"])


def open_scorer(
    run: Run,
    events: Events,
    ranks: Ranks,
    settings: Scoring,
    max_length: int,
    cache: type[Any] | None,
    quietly: Quietly,
) -> Scorer:
    """The suites, each process with files of its own: lm-eval reads them by their folder."""
    data = {name: open_data(run, events, name, ranks) for name in settings.data}
    folder = run.directory / "suites" / (f"rank-{ranks.rank}" if ranks.size > 1 else "")
    suites = tuple(place_data(run, path, data, Path(folder)) for path in settings.suites)
    return Scorer(run, settings, suites, max_length, cache, quietly)
