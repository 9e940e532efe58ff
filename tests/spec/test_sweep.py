"""One spec, many variants: what they are, what they are called, and where a mistake in one of them points."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from specc.driver import Outcome, check
from specc.source import read
from specc.spec.variants import variants
from tests.conftest import ROOT

RATE = "stages.pretrain.optimizer.learning_rate"
# Values by path that the tiny spec takes, several of which are easily mistaken for each other in a name.
VALUES: dict[str, list[Any]] = {
    RATE: [1e-4, 3e-4, 1e-3, 0.01],
    "model.position": [{"kind": "alibi"}, {"kind": "rope"}, {"kind": "rope", "rope_theta": 500000.0}],
    "model.num_layers": [1, 2, 4, 11],
    "seed": [1, 11, 111, 0],
    "stages.pretrain.duration": ["100 steps", "1K steps", "10K tokens", "0.5M tokens"],
    "data.text.holdout": ["1%", "10%", "0.5%"],
    "stages.pretrain.optimizer.betas": [[0.9, 0.95], [0.9, 0.99], [0.8, 0.95]],
    "tags": [["a b"], ["a_b"], ["a", "b"], ["a/b"]],
}
CHOICES = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)
SWEEPS = st.dictionaries(st.sampled_from(sorted(VALUES)), CHOICES, min_size=1, max_size=3).map(
    lambda chosen: {path: [VALUES[path][i] for i in items] for path, items in chosen.items()}
)


def write(folder: Path, sweep: dict[str, Any] | str, **more: Any) -> Path:
    """A spec file that sweeps over the tiny spec."""
    path = folder / "spec.yaml"
    text = sweep if isinstance(sweep, str) else yaml.safe_dump({"sweep": sweep}, sort_keys=False)
    rest = yaml.safe_dump(more) if more else ""
    path.write_text(f"extends: {ROOT / 'specs/presets/tiny.yaml'}\n{rest}{text}", encoding="utf-8")
    return path


def names(outcome: Outcome) -> list[str]:
    assert not outcome.failed, [found.headline for found in outcome.diagnostics]
    return [plan.experiment.name for plan in outcome.plans]


def identities(outcome: Outcome) -> dict[str, str]:
    return {plan.experiment.name: plan.experiment.identity for plan in outcome.plans}


def named(path: Path) -> dict[str, dict[str, Any]]:
    """What each variant sets, by label."""
    return {variant.label: variant.overrides for variant in variants(read(path))}


def test_a_grid_is_the_product_and_a_zip_goes_in_step(tmp_path: Path) -> None:
    sweep = {
        "grid": {RATE: [1e-4, 3e-4], "model.position": [{"kind": "alibi"}, {"kind": "rope"}]},
        "zip": {"model.num_layers": [2, 4], "model.hidden_size": [64, 128]},
    }
    outcome = check(write(tmp_path, sweep))
    assert len(names(outcome)) == len(set(names(outcome))) == 8
    sizes = {(p.experiment.model.num_layers, p.experiment.model.hidden_size) for p in outcome.plans}
    assert sizes == {(2, 64), (4, 128)}
    assert len({plan.experiment.identity for plan in outcome.plans}) == 8


def test_a_variant_is_the_experiment_that_the_same_overrides_make(tmp_path: Path) -> None:
    swept = check(write(tmp_path, {"grid": {"model.num_layers": [2, 4], "seed": [7]}}))
    one = check(ROOT / "specs/presets/tiny.yaml", ("model.num_layers=4", "seed=7")).plan
    assert one is not None
    assert identities(swept)["tiny@num_layers=4+seed=7"] == one.experiment.identity
    assert one.experiment.name == "tiny@num_layers=4+seed=7"
    assert not [s for plan in swept.plans for s in plan.experiment.settings if s.path.startswith("sweep")]


@pytest.mark.parametrize(
    ("path", "value", "label"),
    [
        (RATE, 3e-4, "learning_rate=0.0003"),
        ("model.position", {"kind": "alibi"}, "alibi"),
        ("model.position.kind", "alibi", "alibi"),
        ("model.position", {"kind": "rope", "rope_theta": 1.0}, "rope-rope_theta=1.0"),
        ("stages.pretrain.duration", "4M tokens", "duration=4Mtokens"),
        ("data.text.holdout", "2%", "holdout=2pct"),
        ("stages.pretrain.optimizer.betas", [0.9, 0.99], "betas=0.9_0.99"),
        ("stages.pretrain.optimizer.betas.1", 0.99, "betas.1=0.99"),
    ],
)
def test_a_label_says_what_differs(path: str, value: Any, label: str, tmp_path: Path) -> None:
    assert list(named(write(tmp_path, {"grid": {path: [value]}}))) == [label]


@settings(max_examples=30, deadline=None)
@given(sweep=SWEEPS, seed=st.integers(0, 2**32))
def test_names_are_unique_and_the_order_of_keys_and_more_values_leave_them(
    sweep: dict[str, list[Any]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, shuffle = tmp_path_factory.mktemp("sweep"), random.Random(seed)
    before = named(write(folder, {"grid": sweep}))
    count = 1
    for values in sweep.values():
        count *= len(values)
    assert len(before) == len({label.casefold() for label in before}) == count
    assert all(set(label) <= set("=._+-") | {c for c in label if c.isalnum()} for label in before)
    grown = {path: shuffle.sample(VALUES[path], len(VALUES[path])) for path in shuffle.sample(list(sweep), len(sweep))}
    after = named(write(folder, {"grid": grown}))
    assert all(after[label] == overrides for label, overrides in before.items())


def test_names_that_differ_in_case_only_are_told_apart(tmp_path: Path) -> None:
    labels = list(named(write(tmp_path, {"grid": {"tags": [["Ab"], ["aB"], ["c"]]}})))
    assert len({label.casefold() for label in labels}) == 3
    assert labels[2] == "tags=c"


def test_an_item_of_a_list_is_swept_by_its_index(tmp_path: Path) -> None:
    betas = {"pretrain": {"optimizer": {"betas": [0.9, 0.95]}}}
    path = "stages.pretrain.optimizer.betas"
    outcome = check(write(tmp_path, {"grid": {f"{path}.1": [0.99]}}, stages=betas))
    assert names(outcome) == ["tiny@betas.1=0.99"]
    settings_of = {setting.path: setting.value for setting in outcome.plans[0].experiment.settings}
    assert settings_of[path] == (0.9, 0.99)
    (found,) = check(write(tmp_path, {"grid": {f"{path}.2": [0.99]}}, stages=betas)).diagnostics
    assert (found.code, found.help) == ("SPC020", "use 0 to 1")


def test_the_planned_experiments_stay_the_same_when_the_sweep_grows(tmp_path: Path) -> None:
    before = identities(check(write(tmp_path, {"grid": {"seed": [1, 2], "model.num_layers": [2, 4]}})))
    after = identities(check(write(tmp_path, {"grid": {"model.num_layers": [8, 4, 2], "seed": [3, 2, 1]}})))
    assert len(after) == 9
    assert before.items() <= after.items()


def test_an_error_in_one_variant_points_at_its_item_and_says_in_which(tmp_path: Path) -> None:
    path = write(tmp_path, "sweep:\n  grid:\n    seed: [1, 2]\n    model.attention.num_kv_heads: [1, 2, 3]\n")
    outcome = check(path)
    (found,) = outcome.diagnostics
    assert (found.code, outcome.plans) == ("SPC102", ())
    assert found.primary is not None
    assert (found.primary.span.line, found.primary.span.column) == (5, 42)
    assert found.notes[-1] == "in 2 of 6 variants, first tiny@num_kv_heads=3+seed=1"


def test_what_all_variants_say_is_said_once_and_without_a_note(tmp_path: Path) -> None:
    outcome = check(write(tmp_path, {"grid": {"seed": [1, 2, 3]}}, model={"num_layerz": 4}))
    (found,) = outcome.diagnostics
    assert found.code == "SPC003"
    assert not any("variants" in note for note in found.notes)


def test_an_unknown_key_in_a_swept_path_is_answered_at_the_path(tmp_path: Path) -> None:
    outcome = check(write(tmp_path, "sweep:\n  grid:\n    model.num_layerz: [1, 2]\n"))
    (found,) = outcome.diagnostics
    assert (found.code, found.help) == ("SPC003", "did you mean `num_layers`?")
    assert found.primary is not None
    assert (found.primary.span.line, found.primary.span.column) == (4, 5)


@pytest.mark.parametrize(
    ("sweep", "code", "words"),
    [
        ("{grid: {stages.pretrian.seed: [1]}}", "SPC020", "there is no stage `pretrian`"),
        ("{grid: {model.num_layers.x: [1]}}", "SPC020", "nothing stands below"),
        ("{grid: {model..x: [1]}}", "SPC020", "is no path"),
        ("{grid: {'': [1]}}", "SPC020", "is no path"),
        ("{grid: {seed: []}}", "SPC021", "empty list"),
        ("{grid: {seed: 3}}", "SPC021", "one value"),
        ("{grid: {seed: }}", "SPC021", "one value"),
        ("{grid: {model: {num_layers: [1]}}}", "SPC021", "a mapping"),
        ("{zip: {seed: [1, 2], model.num_layers: [1]}}", "SPC022", "has 1 values, and `seed` in the same `zip` has 2"),
        ("{grid: {seed: [1]}, zip: {seed: [2]}}", "SPC023", "in `grid` and in `zip`"),
        ("{grid: {model.position: [{kind: rope}], model.position.kind: [rope]}}", "SPC023", "around it"),
        ("{grid: {sweep.grid: [{}]}}", "SPC024", "cannot be swept"),
        ("{grid: {name: [a, b]}}", "SPC024", "cannot be swept"),
        ("{grid: {cluster.extends: [a.yaml]}}", "SPC024", "cannot be swept"),
        ("{gird: {seed: [1]}}", "SPC003", "has no key `gird`"),
        ("{grid: 3}", "SPC004", "takes a mapping"),
        ("3", "SPC004", "takes a mapping"),
        ("{grid: {seed: [1, 1]}}", "SPC026", "are the same experiment"),
        ("{grid: {seed: [1, 0x1]}}", "SPC026", "are the same experiment"),
    ],
)
def test_a_mistake_in_a_sweep_is_answered(sweep: str, code: str, words: str, tmp_path: Path) -> None:
    outcome = check(write(tmp_path, f"sweep: {sweep}\n"))
    assert outcome.failed
    assert code in [found.code for found in outcome.diagnostics]
    assert words in "\n".join(found.headline for found in outcome.diagnostics)
    assert all(found.primary is not None for found in outcome.diagnostics)


@pytest.mark.parametrize("empty", ["{}", "{grid: {}}", "{grid: {}, zip: {}}"])
def test_a_sweep_over_nothing_is_no_sweep(empty: str, tmp_path: Path) -> None:
    outcome = check(write(tmp_path, f"sweep: {empty}\n"))
    assert (names(outcome), outcome.sweep) == (["tiny"], None)


def test_where_it_runs_makes_no_other_experiment_and_is_a_warning(tmp_path: Path) -> None:
    outcome = check(
        write(
            tmp_path,
            {"grid": {"stages.pretrain.checkpoint.every": ["5 steps", "10 steps", "20 steps"], "seed": [1, 2]}},
        )
    )
    (found,) = outcome.diagnostics
    assert (found.code, found.severity, len(outcome.plans)) == ("SPC026", "warning", 6)
    assert len({plan.experiment.name for plan in outcome.plans}) == 6


def test_overrides_hold_in_every_variant_and_stand_behind_its_label(tmp_path: Path) -> None:
    outcome = check(write(tmp_path, {"grid": {"model.num_layers": [2, 4]}}), ("seed=7",))
    assert names(outcome) == ["tiny@num_layers=2+seed=7", "tiny@num_layers=4+seed=7"]
    assert outcome.sweep == "tiny@seed=7"
    assert {plan.experiment.seed for plan in outcome.plans} == {7}


def test_an_override_of_a_list_changes_the_sweep(tmp_path: Path) -> None:
    path = write(tmp_path, {"grid": {"model.num_layers": [2, 4], "seed": [1]}})
    assert names(check(path, ("sweep.grid.model.num_layers=[8]",))) == ["tiny@num_layers=8+seed=1"]
    assert names(check(path, ("sweep={}",))) == ["tiny"]


def test_an_override_of_what_is_swept_is_refused(tmp_path: Path) -> None:
    outcome = check(write(tmp_path, {"grid": {"model.num_layers": [2, 4]}}), ("model.num_layers=8",))
    assert [found.code for found in outcome.diagnostics] == ["SPC023"]


def test_a_value_may_extend_a_preset(tmp_path: Path) -> None:
    outcome = check(write(tmp_path, {"grid": {"cluster": [{"extends": "clusters/h100_64x8.yaml", "nodes": 1}]}}))
    (plan,) = outcome.plans
    assert (plan.cluster.device.name, plan.cluster.nodes) == ("h100_sxm", 1)


@pytest.mark.parametrize("noop", ["seed=1", "model.position.kind=rope", "model={hidden_size: 64}", "seed=0x1"])
def test_an_override_that_changes_nothing_names_nothing(noop: str) -> None:
    outcome = check(ROOT / "specs/presets/tiny.yaml", (noop,))
    if noop.startswith("model="):
        assert outcome.failed  # the whole section is replaced
    else:
        assert names(outcome) == ["tiny"]


def test_after_a_hundred_variants_with_errors_the_rest_is_not_looked_at(tmp_path: Path) -> None:
    outcome = check(write(tmp_path, {"grid": {"model.attention.num_kv_heads": [3, *range(5, 305)]}}))
    assert outcome.failed
    assert any("201 more were not looked at" in note for found in outcome.diagnostics for note in found.notes)
