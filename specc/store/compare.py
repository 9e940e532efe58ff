"""`specc compare`: what differs in the specs of runs, and what came of it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, NamedTuple

import duckdb

from specc.settings_diff import SettingRow, Settings, diff_settings
from specc.store import numbers
from specc.store.database import StoreError
from specc.store.numbers import Direction
from specc.store.queries import Run, Selection, list_runs, resolve

Z_95 = 1.96
"""Standard errors beyond which a difference is marked: 95 % of a normal distribution lies within."""
_ANY = "run"
_PEAK = ("peak_memory_bytes", "memory_bytes")


@dataclass(frozen=True)
class Side:
    """One column of the comparison."""

    label: str
    selection: Selection
    identity: str | None
    parameters: int | None


@dataclass(frozen=True)
class Cell:
    """One value of one side."""

    value: float
    stderr: float | None = None
    step: int | None = None
    examples: int | None = None


@dataclass(frozen=True)
class Difference:
    """A side against the first."""

    value: float
    stderr: float | None
    """Of the difference, or None when one of the two is unknown."""

    @property
    def significant(self) -> bool | None:
        """Whether it is larger than 1.96 standard errors; None when they are unknown."""
        return None if self.stderr is None else abs(self.value) > Z_95 * self.stderr


@dataclass(frozen=True)
class ResultRow:
    """One outcome, on every side that has it."""

    section: str
    """A stage, `run`, or the task and metric of an evaluation."""
    name: str
    """`train/loss`, ..., or the model that was evaluated."""
    which: str
    """`last`, `best`, or empty."""
    unit: str
    """`metric`, `rate`, `seconds`, `bytes`, `count`."""
    better: Direction | None
    cells: tuple[Cell | None, ...]
    kind: str = "stage"
    """stage, model or baseline."""

    @property
    def best(self) -> int | None:
        """The side with the better value, None where there is no better one."""
        values = {
            index: cell.value for index, cell in enumerate(self.cells) if cell is not None and math.isfinite(cell.value)
        }
        if self.better is None or self.kind == "baseline" or len(set(values.values())) < 2:
            return None
        pick = min(values.values()) if self.better == "lower" else max(values.values())
        winners = [index for index, value in values.items() if value == pick]
        return winners[0] if len(winners) == 1 else None

    def difference(self, side: int) -> Difference | None:
        """Side minus the first side."""
        first, other = self.cells[0], self.cells[side]
        if side == 0 or first is None or other is None:
            return None
        known = first.stderr is not None and other.stderr is not None
        stderr = math.hypot(first.stderr or 0.0, other.stderr or 0.0) if known else None
        return Difference(other.value - first.value, stderr)


@dataclass(frozen=True)
class PredictionRow:
    """What the plan of one side said of a stage, and what was measured."""

    stage: str
    name: str
    side: int
    predicted: float | None
    measured: float | None
    relative_error: float | None


@dataclass(frozen=True)
class Comparison:
    """Everything `specc compare` says."""

    sides: tuple[Side, ...]
    settings: tuple[SettingRow, ...]
    results: tuple[ResultRow, ...]
    predictions: tuple[PredictionRow, ...]
    notes: tuple[str, ...]


def compare(connection: duckdb.DuckDBPyConnection, addresses: tuple[str, ...]) -> Comparison:
    """Compare what the addresses mean; one alone is held against its plan and its baselines.

    StoreError when an address means nothing, or there are more than there are letters for.
    """
    if not 1 <= len(addresses) <= len(ascii_uppercase):
        raise StoreError(f"compare takes 1 to {len(ascii_uppercase)} experiments or runs, and this is {len(addresses)}")
    runs = list_runs(connection)
    selections = tuple(_in_stage_order(connection, resolve(runs, address)) for address in addresses)
    sides = tuple(
        _side(connection, label, selection) for label, selection in zip(ascii_uppercase, selections, strict=False)
    )
    specs = [_settings(connection, selection.plan) for selection in selections]
    notes = tuple(
        f"the plan of {side.label} is not in the run directories, so its settings are unknown"
        for side, spec in zip(sides, specs, strict=True)
        if not spec
    )
    one_stage = len({run.stage for selection in selections for run in selection.runs}) == 1
    align = not one_stage and not any(selection.whole for selection in selections)
    return Comparison(
        sides,
        () if notes else diff_settings(tuple(specs)),
        (*_parameter_rows(sides), *_stage_rows(connection, selections, align),
         *_evaluation_rows(connection, selections, align)),
        _prediction_rows(connection, selections),
        notes,
    )  # fmt: skip


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values; the values of a row are in the order of `sides`, null where a side has none."""
    return {
        "sides": [_side_record(side) for side in comparison.sides],
        "settings": [
            {
                "path": row.path,
                "effect": row.effect,
                "settings": row.leaves,
                "values": [None if value is None else {"value": value.value} for value in row.values],
            }
            for row in comparison.settings
        ],
        "results": [_result_record(row) for row in comparison.results],
        "predictions": [{**vars(row), "side": comparison.sides[row.side].label} for row in comparison.predictions],
        "notes": list(comparison.notes),
    }


def _side_record(side: Side) -> dict[str, Any]:
    return {
        "label": side.label,
        "address": side.selection.address,
        "experiment": side.selection.experiment,
        "identity": side.identity,
        "plan": side.selection.plan,
        "runs": [
            {"run": run.run, "short_id": run.short_id, "stage": run.stage, "state": run.state}
            for run in side.selection.runs
        ],
    }


def _result_record(row: ResultRow) -> dict[str, Any]:
    differences = [row.difference(side) for side in range(len(row.cells))]
    return {
        "section": row.section,
        "name": row.name,
        "which": row.which or None,
        "kind": row.kind,
        "unit": row.unit,
        "better": row.better,
        "best_side": row.best,
        "values": [None if cell is None else vars(cell) for cell in row.cells],
        "differences": [
            None
            if difference is None
            else {"value": difference.value, "stderr": difference.stderr, "significant": difference.significant}
            for difference in differences
        ],
    }


def _side(connection: duckdb.DuckDBPyConnection, label: str, selection: Selection) -> Side:
    rows = connection.execute(
        "SELECT identity, parameters_total FROM plans WHERE plan = ?", [selection.plan]
    ).fetchall()
    identity, parameters = rows[0] if rows else (None, None)
    return Side(label, selection, identity, parameters)


def _in_stage_order(connection: duckdb.DuckDBPyConnection, selection: Selection) -> Selection:
    """The runs of a selection in the order of their stages in the plan."""
    rows = connection.execute("SELECT stage, position FROM stages WHERE plan = ?", [selection.plan]).fetchall()
    positions = dict(rows)
    runs = sorted(selection.runs, key=lambda run: positions.get(run.stage, len(positions)))
    return replace(selection, runs=tuple(runs))


def _settings(connection: duckdb.DuckDBPyConnection, plan: str | None) -> Settings:
    rows = connection.execute(
        "SELECT path, value::VARCHAR, effect FROM settings WHERE plan = ? ORDER BY rowid", [plan]
    ).fetchall()
    return {path: (json.loads(value), effect) for path, value, effect in rows}


def _parameter_rows(sides: tuple[Side, ...]) -> tuple[ResultRow, ...]:
    cells = tuple(None if side.parameters is None else Cell(side.parameters) for side in sides)
    return (ResultRow("model", "parameters", "", "count", None, cells),) if any(cells) else ()


def _stage_rows(
    connection: duckdb.DuckDBPyConnection, selections: tuple[Selection, ...], align: bool
) -> list[ResultRow]:
    """Losses, speed, duration and memory of every stage; runs compared one by one share a section."""
    rows: list[ResultRow] = []
    stages = dict.fromkeys(run.stage for selection in selections for run in selection.runs)
    for stage in (_ANY,) if align else stages:
        runs = tuple(
            next((run for run in selection.runs if stage in (run.stage, _ANY)), None) for selection in selections
        )
        rows += _metric_rows(connection, stage, runs)
        rows += _resource_rows(connection, stage, runs)
    return rows


def _metric_rows(connection: duckdb.DuckDBPyConnection, stage: str, runs: tuple[Run | None, ...]) -> list[ResultRow]:
    """The last and the best value of the losses, and of whatever else was validated."""
    query = """
        SELECT run, name, last_value, last_step, min_value, min_step, max_value, max_step FROM metric_summaries
        WHERE run IN (SELECT unnest(?::VARCHAR[])) AND (name = 'train/loss' OR name LIKE 'validation/%')
        ORDER BY name <> 'train/loss', name
    """
    names = [run.run for run in runs if run is not None]
    found = {(row[0], row[1]): row[2:] for row in connection.execute(query, [names]).fetchall()}
    rows = []
    for name in dict.fromkeys(name for _, name in found):
        better = numbers.direction(name)
        values = [found.get((run.run, name)) if run else None for run in runs]
        lasts = tuple(Cell(_known(row[0]), step=row[1]) if row else None for row in values)
        rows.append(ResultRow(stage, name, "last", "metric", better, lasts))
        column = 2 if better == "lower" else 4
        bests = tuple(Cell(row[column], step=row[column + 1]) if row and row[column + 1] is not None else None
                      for row in values)  # fmt: skip
        if better is not None and bests != lasts:
            rows.append(ResultRow(stage, name, "best", "metric", better, bests))
    return rows


def _resource_rows(connection: duckdb.DuckDBPyConnection, stage: str, runs: tuple[Run | None, ...]) -> list[ResultRow]:
    query = "SELECT run, name, value FROM measurements WHERE run IN (SELECT unnest(?::VARCHAR[])) AND value IS NOT NULL"
    names = [run.run for run in runs if run is not None]
    measured = {(run, name): value for run, name, value in connection.execute(query, [names]).fetchall()}

    def peak(run: Run) -> float | None:
        return next((measured[run.run, name] for name in _PEAK if (run.run, name) in measured), None)

    columns: tuple[tuple[str, str, Direction | None, list[float | None]], ...] = (
        ("tokens/s", "rate", "higher", [run.tokens_per_second if run else None for run in runs]),
        ("duration", "seconds", None, [run.wall_seconds if run else None for run in runs]),
        ("peak memory", "bytes", "lower", [peak(run) if run else None for run in runs]),
    )
    return [
        ResultRow(stage, name, "", unit, better, tuple(None if value is None else Cell(value) for value in values))
        for name, unit, better, values in columns
        if any(value is not None for value in values)
    ]


class _Task(NamedTuple):
    """What an evaluation is of."""

    section: str
    metric: str
    kind: str
    """model or baseline."""
    model: str


def _evaluation_rows(
    connection: duckdb.DuckDBPyConnection, selections: tuple[Selection, ...], align: bool
) -> list[ResultRow]:
    """One row a task, metric and model; the models in the order of their evaluation, the baselines last."""
    by_side = [_evaluations(connection, selection) for selection in selections]
    owns = [{key for key in found if key.model == selection.runs[0].stage} for found, selection in
            zip(by_side, selections, strict=True)]  # fmt: skip
    if align and all(owns):  # runs of different stages share a row
        by_side = [
            {key._replace(model=_ANY) if key in own else key: cell for key, cell in found.items()}
            for found, own in zip(by_side, owns, strict=True)
        ]
    keys = list(dict.fromkeys(key for found in by_side for key in found))
    sections = list(dict.fromkeys(key.section for key in keys))
    keys.sort(key=lambda key: (sections.index(key.section), key.kind == "baseline"))
    return [
        ResultRow(
            key.section, key.model, "", "metric", numbers.direction(key.metric),
            tuple(found.get(key) for found in by_side), key.kind,
        )
        for key in keys
    ]  # fmt: skip


def _evaluations(connection: duckdb.DuckDBPyConnection, selection: Selection) -> dict[_Task, Cell]:
    """Evaluations of a side; of equals the latest counts. A single run also has what other runs found of it."""
    query = """
        SELECT e.suite, e.task, e.metric, e.num_fewshot, e.model, e.baseline, e.value, e.stderr, e.examples
        FROM evaluations e
        WHERE e.value IS NOT NULL AND (
            e.run IN (SELECT unnest($runs::VARCHAR[]))
            OR NOT $whole AND e.run IN (SELECT run FROM lineage WHERE upstream_run IN (SELECT unnest($runs)))
               AND (e.baseline OR e.model = $stage))
        ORDER BY e.suite, e.task, e.metric, e.num_fewshot, e.time, e.model
    """
    stage = selection.runs[0].stage
    values = {"runs": [run.run for run in selection.runs], "whole": selection.whole, "stage": stage}
    found = {}
    for suite, task, metric, shots, model, baseline, *cell in connection.execute(query, values).fetchall():
        name = f"{suite}/{task}" if suite else task
        section = f"{name} {metric}" + (f", {shots}-shot" if shots else "")
        value, stderr, examples = cell
        found[_Task(section, metric, "baseline" if baseline else "model", model)] = Cell(value, stderr, None, examples)
    return found


def _prediction_rows(
    connection: duckdb.DuckDBPyConnection, selections: tuple[Selection, ...]
) -> tuple[PredictionRow, ...]:
    query = """
        SELECT stage, name, run, predicted, measured, relative_error FROM predictions_vs_measurements
        WHERE run IN (SELECT unnest(?::VARCHAR[])) AND predicted IS NOT NULL ORDER BY name
    """
    rows = [
        PredictionRow(stage, name, side, predicted, measured, error)
        for side, selection in enumerate(selections)
        for stage, name, _, predicted, measured, error in connection.execute(
            query, [[run.run for run in selection.runs]]
        ).fetchall()
    ]
    stages = list(dict.fromkeys(run.stage for selection in selections for run in selection.runs))
    return tuple(sorted(rows, key=lambda row: (stages.index(row.stage), row.name, row.side)))


def _known(value: float | None) -> float:
    return math.nan if value is None else value
