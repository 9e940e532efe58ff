"""Questions about runs: which run an address means, and the table of runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb

from specc.store.database import StoreError, near

LATEST = "@latest"
SHORTEST_ID = 4
_METRICS = ("bits_per_byte", "acc_norm", "acc", "exact_match")
"""The evaluation a run is known by, best first."""


@dataclass(frozen=True)
class Run:
    """One run, with the numbers it is known by."""

    run: str
    short_id: str
    experiment: str
    stage: str
    kind: str | None
    key: str
    plan: str | None
    state: str
    attempts: int
    started: datetime | None
    """UTC."""
    step: int | None
    wall_seconds: float | None
    error: str | None
    train_loss: float | None
    """Last reported, nats per token."""
    validation_loss: float | None
    """Last reported, nats per token."""
    tokens_per_second: float | None
    """Mean over the run."""
    evaluation: tuple[str, float] | None
    """(metric, value) of the evaluation it is known by."""


_FIELDS = tuple(name for name in Run.__dataclass_fields__ if name != "evaluation")
RECORD_FIELDS = (*_FIELDS, "evaluation_metric", "evaluation_value")


@dataclass(frozen=True)
class Selection:
    """What an address means: one run, or the latest run of each stage of an experiment."""

    address: str
    experiment: str
    runs: tuple[Run, ...]
    whole: bool
    """Whether the address is an experiment."""

    @property
    def plan(self) -> str | None:
        """The plan of the latest of its runs."""
        known = [run for run in self.runs if run.plan]
        return max(known, key=_age).plan if known else None


def list_runs(connection: duckdb.DuckDBPyConnection) -> tuple[Run, ...]:
    """Every run, the latest first."""
    query = """
        SELECT r.run, short_id, experiment, stage, kind, key, plan, state, attempts, started, r.last_step, wall_seconds,
               error, train.last_value, validation.last_value,
               speed.total / nullif(speed.points - speed.not_finite, 0)
        FROM runs r
        LEFT JOIN metric_summaries train ON train.run = r.run AND train.name = 'train/loss'
        LEFT JOIN metric_summaries validation ON validation.run = r.run AND validation.name = 'validation/loss'
        LEFT JOIN metric_summaries speed ON speed.run = r.run AND speed.name = 'train/tokens_per_second'
        ORDER BY started DESC NULLS LAST, r.run
    """
    evaluations = _main_evaluations(connection)
    rows = connection.execute(query).fetchall()
    return tuple(Run(**dict(zip(_FIELDS, row, strict=True)), evaluation=evaluations.get(row[0])) for row in rows)


def resolve(runs: tuple[Run, ...], address: str) -> Selection:
    """The runs an address means: an experiment, a run, a short id, or `@latest`; StoreError with what there is."""
    if not runs:
        raise StoreError("there are no runs yet")
    if address == LATEST:
        return _single(address, max(runs, key=_age))
    of_experiment = [run for run in runs if run.experiment == address]
    if of_experiment:
        latest: dict[str, Run] = {}
        for run in sorted(of_experiment, key=_age):
            latest[run.stage] = run
        return Selection(address, address, tuple(sorted(latest.values(), key=_age)), whole=True)
    exact = [run for run in runs if address in (run.run, run.short_id)]
    found = exact or [run for run in runs if _starts(run, address)]
    if len(found) == 1:
        return _single(address, found[0])
    if found:
        raise StoreError(f"{address!r} means {len(found)} runs: {', '.join(sorted(run.run for run in found))}")
    raise StoreError(_unknown(runs, address))


def choose(runs: tuple[Run, ...], addresses: tuple[str, ...]) -> tuple[Run, ...]:
    """The runs of any of the addresses, all runs of an experiment included; all when there is no address."""
    if not addresses:
        return runs
    named: set[str] = set()
    for address in addresses:
        selection = resolve(runs, address)
        of_experiment = {run.run for run in runs if selection.whole and run.experiment == selection.experiment}
        named |= of_experiment or {run.run for run in selection.runs}
    return tuple(run for run in runs if run.run in named)


def run_record(run: Run) -> dict[str, Any]:
    """A run as plain values, for JSON and CSV."""
    record = {name: getattr(run, name) for name in _FIELDS}
    record["started"] = run.started.isoformat() + "Z" if run.started else None
    metric, value = run.evaluation or (None, None)
    return {**record, "evaluation_metric": metric, "evaluation_value": value}


def _main_evaluations(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, float]]:
    """The evaluation each run is known by: its own, or that of its stage in a run that evaluated it."""
    rank = " ".join(f"WHEN '{metric}' THEN {place}" for place, metric in enumerate(_METRICS))
    query = f"""
        WITH known AS (
            SELECT run, metric, value, time, 0 AS far FROM evaluations WHERE NOT baseline
            UNION ALL
            SELECT l.upstream_run, e.metric, e.value, e.time, 1
            FROM evaluations e JOIN lineage l ON l.run = e.run AND l.stage = e.model
        )
        SELECT run, metric, value FROM known WHERE value IS NOT NULL
        QUALIFY row_number() OVER (
            PARTITION BY run ORDER BY far, CASE metric {rank} ELSE {len(_METRICS)} END, time DESC, metric) = 1
    """
    return {run: (metric, value) for run, metric, value in connection.execute(query).fetchall()}


def _single(address: str, run: Run) -> Selection:
    return Selection(address, run.experiment, (run,), whole=False)


def _starts(run: Run, address: str) -> bool:
    """Whether the address is the beginning of the run's key, or of its whole name up to the key."""
    experiment, _, rest = address.rpartition("/")
    stage, _, digits = rest.rpartition("-")
    if experiment and (experiment, stage) != (run.experiment, run.stage):
        return False
    digits = digits if experiment else address
    return bool(re.fullmatch(f"[0-9a-f]{{{SHORTEST_ID},}}", digits)) and run.key.startswith(digits)


def _unknown(runs: tuple[Run, ...], address: str) -> str:
    hexadecimal = re.fullmatch(r"[0-9a-f]+", address)
    if hexadecimal and len(address) < SHORTEST_ID and any(run.key.startswith(address) for run in runs):
        return f"{address!r} is too short for an id; give at least {SHORTEST_ID} digits"
    names = [run.experiment for run in runs]
    if "/" in address:
        names = [run.run for run in runs]
    elif hexadecimal:
        names = [run.short_id for run in runs]
    return f"no experiment or run is called {address!r}{near(address, names)}"


def _age(run: Run) -> tuple[datetime, str]:
    return run.started or datetime.min, run.run
