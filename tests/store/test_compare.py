"""What a comparison says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specc.settings_diff import Present, diff_settings
from specc.store import compare_text, numbers
from specc.store.compare import Comparison, compare, comparison_record
from specc.store.database import StoreError, open_for_reading
from specc.store.formats import to_json
from specc.store.sync import sync
from tests.store.run_trees import evaluation, finished, started, write_events, write_quickstart


def compared(runs_dir: Path, *addresses: str) -> Comparison:
    with open_for_reading(runs_dir / "specc.duckdb") as connection:
        return compare(connection, addresses)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs_dir = tmp_path_factory.mktemp("runs")
    write_quickstart(runs_dir)
    sync(runs_dir)
    return runs_dir


@pytest.fixture(scope="module")
def record(tree: Path) -> dict[str, Any]:
    text = to_json(comparison_record(compared(tree, "quickstart", "quickstart@rope")))
    found: dict[str, Any] = json.loads(text)
    return found


def result(record: dict[str, Any], section: str, name: str, which: str | None = None) -> dict[str, Any]:
    (row,) = [row for row in record["results"] if (row["section"], row["name"], row["which"]) == (section, name, which)]
    return dict(row)


def test_settings_are_one_row_a_difference_by_effect(record: dict[str, Any]) -> None:
    assert [(row["path"], row["effect"]) for row in record["settings"]] == [
        ("model.position.kind", "identity"),
        ("model.position.rope_theta", "identity"),
        ("stages.sft", "identity"),
        ("stages.pretrain.micro_batch_size", "numerics"),
        ("cluster.path", "execution"),
    ]
    assert record["settings"][0]["values"] == [{"value": "alibi"}, {"value": "rope"}]
    assert record["settings"][1]["values"] == [None, {"value": 10000.0}]


def test_a_subtree_of_one_side_is_one_row(record: dict[str, Any]) -> None:
    row = record["settings"][2]
    subtree = {"kind": "sft", "duration": "3 epochs", "adapter.rank": 16, "output": "out"}
    assert (row["settings"], row["values"]) == (4, [None, {"value": subtree}])


def test_the_name_is_a_row_only_when_it_is_all() -> None:
    here, there = (
        {"name": ("a", "annotation"), "x": (1, "identity")},
        {"name": ("b", "annotation"), "x": (1, "identity")},
    )
    (row,) = diff_settings((here, there))
    assert (row.path, row.values) == ("name", (Present("a"), Present("b")))
    assert [row.path for row in diff_settings((here, {**there, "x": (2, "identity")}))] == ["x"]


def test_losses_have_their_last_and_best_value_with_the_step(record: dict[str, Any]) -> None:
    last = result(record, "pretrain", "validation/loss", "last")
    best = result(record, "pretrain", "validation/loss", "best")
    assert [(round(cell["value"], 6), cell["step"]) for cell in last["values"]] == [(1.9, 400), (1.87, 400)]
    assert [(round(cell["value"], 6), cell["step"]) for cell in best["values"]] == [(1.8, 300), (1.77, 300)]
    assert (last["better"], last["best_side"]) == ("lower", 1)


def test_a_difference_beyond_its_standard_error_is_significant(record: dict[str, Any]) -> None:
    row = result(record, "core/stdlib bits_per_byte", "pretrain")
    difference = row["differences"][1]
    assert difference["value"] == pytest.approx(-0.03)
    assert difference["stderr"] == pytest.approx(0.0061 * 2**0.5)
    # 0.03 is 3.5 combined standard errors; the 0.003 of accuracy are 0.1.
    assert difference["significant"] is True
    accuracy = result(record, "core/cloze acc", "pretrain")
    assert accuracy["differences"][1]["significant"] is False
    assert (accuracy["better"], accuracy["best_side"]) == ("higher", 1)


def test_a_baseline_is_one_row_without_a_winner(record: dict[str, Any]) -> None:
    row = result(record, "core/stdlib bits_per_byte", "byte_trigram")
    assert (row["kind"], row["best_side"]) == ("baseline", None)
    assert [cell["value"] for cell in row["values"]] == [3.0123, 3.0123]


def test_resources_and_predictions_are_there(record: dict[str, Any]) -> None:
    assert [cell["value"] for cell in result(record, "model", "parameters")["values"]] == [4_210_688] * 2
    assert [cell["value"] for cell in result(record, "pretrain", "duration")["values"]] == [90.0, 90.0]
    assert result(record, "pretrain", "peak memory")["best_side"] == 1
    said = [row for row in record["predictions"] if row["name"] == "step_time_s"]
    assert [(row["side"], row["predicted"], row["measured"]) for row in said] == [("A", 0.5, 0.55), ("B", 0.5, 0.52)]
    assert said[0]["relative_error"] == pytest.approx(0.1)


def test_an_unknown_metric_has_no_winner(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        run = f"{name}/evaluate-77aa01bc33dd"
        score = evaluation("pretrain", value, None, metric="sparkle")
        write_events(tmp_path, run, [started(run), score, finished()])
    sync(tmp_path)
    found = compared(tmp_path, "a", "b")
    (row,) = [row for row in found.results if row.name == "pretrain"]
    assert (row.better, row.best) == (None, None)
    difference = row.difference(1)
    assert difference is not None
    assert difference.significant is None
    assert len(found.notes) == 2


def test_a_single_run_has_what_others_found_of_it(tree: Path) -> None:
    found = compared(tree, "3f2a", "4c2a")
    (row,) = [row for row in found.results if row.section.endswith("bits_per_byte") and row.kind == "model"]
    assert [cell.value for cell in row.cells if cell] == [pytest.approx(2.0713), pytest.approx(2.0413)]


def test_the_same_twice_has_no_differences(tree: Path) -> None:
    found = compared(tree, "quickstart", "quickstart")
    assert found.settings == ()
    assert all(row.best is None for row in found.results)
    assert any("The specs are the same" in line.plain for line in compare_text.render(found, 80))


def test_one_alone_is_held_against_its_baseline_and_its_plan(tree: Path) -> None:
    lines = [line.plain for line in compare_text.render(compared(tree, "quickstart"), 80)]
    assert not any("In the specs" in line or "The specs are" in line for line in lines)
    assert any("byte_trigram (baseline)" in line for line in lines)
    assert any(line.startswith("Plan and reality") for line in lines)


def test_none_at_all_is_said_plainly(tree: Path) -> None:
    with pytest.raises(StoreError, match="takes 1 to 26"):
        compared(tree)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_text_fits_its_terminal(tree: Path, width: int, count: int) -> None:
    addresses = ["quickstart", "quickstart@rope", "3f2a", "4c2a", "77aa", "88aa", "@latest"][:count]
    lines = [line.plain for line in compare_text.render(compared(tree, *addresses), width)]
    assert max(len(line) for line in lines) <= width
    assert not any(line.endswith("…") for line in lines)
    labels = {line.split()[0] for line in lines if line[:3] in {f"{letter}  " for letter in "ABCDEFG"}}
    assert len(labels) == count


def test_the_text_at_80_columns(tree: Path) -> None:
    lines = [line.plain for line in compare_text.render(compared(tree, "quickstart", "quickstart@rope"), 80)]
    assert "  pretrain                      2.0713 ±0.0061      2.0413 ±0.0061 *  -0.0300 ≠" in lines
    assert "  validation/loss, best @300    1.8000              1.7700         *  -0.0300" in lines
    assert "  model.position.kind               alibi              rope" in lines
    assert "  step_time_s        A     500 ms     550 ms    +10.0%" in lines


def test_markdown_is_tables(tree: Path) -> None:
    text = compare_text.to_markdown(compared(tree, "quickstart", "quickstart@rope"))
    assert "| model.position.kind | identity | alibi | rope |" in text
    assert "| core/stdlib bits_per_byte | pretrain | 2.0713 ±0.0061 | 2.0413 ±0.0061 * | -0.0300 ≠ |" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (numbers.duration(0.0123), "12.3 ms"),
        (numbers.duration(59.96), "60.0 s"),
        (numbers.duration(125), "2m 05s"),
        (numbers.duration(3599.7), "1h 00m"),
        (numbers.duration(90061), "1d 01h"),
        (numbers.large(999.6), "1.00k"),
        (numbers.large(70_553_706_496), "70.6B"),
        (numbers.large(812), "812"),
        (numbers.size(80 * 2**30), "80.0 GiB"),
        (numbers.decimals(2.07129), "2.0713"),
        (numbers.decimals(3e-4), "0.0003"),
        (numbers.decimals(float("nan")), "NaN"),
        (numbers.percent(0.1), "+10.0%"),
        (numbers.quantity("cost_usd", 1234567.0), "$1,234,567.00"),
        (numbers.with_error(2.07129, 0.0061), ("2.0713", "±0.0061")),
        (numbers.with_error(0.31, 0.021), ("0.310", "±0.021")),
    ],
)
def test_numbers_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected
