"""Every formula that `specc why` shows gives the value that the compiler uses, computed here again from its inputs."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest

from specc import driver, ir
from specc.planning.derivations import derivations as planned
from specc.spec.derivations import derivations
from specc.spec.settings import settings
from tests.conftest import ROOT

SPECS = sorted(ROOT.glob("specs/*.yaml"))
TINY = ROOT / "specs/presets/tiny.yaml"
VARIANTS: tuple[tuple[str, ...], ...] = (
    ("stages.pretrain.duration=1M tokens", "stages.pretrain.global_batch_size=1Ki tokens"),
    ("stages.pretrain.duration=3 epochs", "data.text.tokens=7M tokens", "stages.pretrain.schedule.warmup=7.5%"),
    ("stages.pretrain.schedule.warmup=20K tokens",),
    ("model.attention.head_dim=32", "model.tie_embeddings=false", "model.pad_vocab_size_multiple=100"),
    ("model.attention.bias=all", "model.norm.kind=layernorm", "model.position.kind=learned"),
    ("cluster.device=h100_sxm", "cluster.devices_per_node=4", "cluster.price_per_device_hour=2"),
    ("stages.pretrain.parallelism.micro_batch_size=2",),
    (
        "stages.pretrain.batch_size_schedule={start: 2 sequences, increment: 2 sequences, duration: 30K tokens}",
        "stages.pretrain.duration=1M tokens",
        "stages.pretrain.schedule.warmup=50K tokens",
        "cluster.price_per_device_hour=2",
    ),
    (
        "stages.pretrain.batch_size_schedule={start: 256 tokens, increment: 2 sequences, duration: 9 steps}",
        "stages.pretrain.duration=3 epochs",
        "data.text.tokens=7M tokens",
        "stages.pretrain.schedule.warmup=3K tokens",
    ),
    (
        "model.kind=encoder",
        "stages.pretrain.objective={kind: masked}",
        "model.first_attention_norm=false",
        "model.embedding={norm: {kind: layernorm}, token_types: 2}",
        "model.head={kind: masked_lm, transform: {norm: {kind: layernorm}}}",
    ),
    (
        "model.kind=encoder_decoder",
        "stages.pretrain.objective={kind: span_corruption}",
        "model.position={kind: relative}",
    ),
    ("model.kind=encoder_decoder", "stages.pretrain.objective={kind: ul2}", "model.num_decoder_layers=3"),
)
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: Fraction(a) / Fraction(b) if not isinstance(a, float) and not isinstance(b, float) else a / b,
}
CALLS: Mapping[str, Callable[[Any], Any]] = {"ceil": math.ceil, "round": round}


def compute(formula: str, values: Mapping[str, Any]) -> Any:
    """Exact arithmetic over fractions; an independent reader of what the formula says."""

    def step(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return values[name]
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](step(left), step(right))
            case ast.Call(func=ast.Name(id=name), args=[argument]):
                return CALLS[name](step(argument))
        raise AssertionError(f"{formula} is not arithmetic")

    return step(ast.parse(formula, mode="eval").body)


def every(*sets: str, spec: Any = TINY) -> tuple[list[ir.Derivation], dict[str, Any]]:
    outcome = driver.check(spec, sets)
    assert outcome.plan is not None
    assert outcome.spec is not None
    found = [*derivations(outcome.spec, outcome.plan.experiment), *planned(outcome.plan)]
    written = {setting.path: setting.value for setting in settings(outcome.spec)}
    return found, written


def hold(found: list[ir.Derivation], written: dict[str, Any]) -> None:
    values = {each.path: each.value for each in found}
    assert len(values) == len(found), "a path is derived once"
    for each in found:
        assert each.formula or each.reasons or each.path.endswith("_parallel_size"), each.path
        for read in each.inputs:
            assert read.path is None or read.path in values or read.path in written, read.path
            if read.path in values:
                assert read.value == values[read.path], f"{each.path} reads another {read.path}"
        if each.formula and each.formula not in [read.name for read in each.inputs]:
            result = compute(each.formula, {read.name: read.value for read in each.inputs})
            assert result == pytest.approx(each.value, rel=1e-12), each.path
            assert type(each.value) is not int or result == each.value, each.path


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_the_formulas_of_a_shipped_spec_hold(spec: Any) -> None:
    hold(*every(spec=spec))


@pytest.mark.parametrize("sets", VARIANTS, ids=lambda sets: sets[0])
def test_the_formulas_hold_however_lengths_and_sizes_are_written(sets: tuple[str, ...]) -> None:
    hold(*every(*sets))


def test_the_values_are_those_of_the_plan() -> None:
    outcome = driver.check(ROOT / "specs/70b_alibi.yaml")
    assert outcome.plan is not None
    found = {each.path: each.value for each in every(spec=ROOT / "specs/70b_alibi.yaml")[0]}
    model = outcome.plan.experiment.model
    assert found["model.parameters"] == model.parameters == sum(weight.count for weight in model.weights())
    for stage in outcome.plan.experiment.stages:
        at, planned_stage = f"stages.{stage.name}", outcome.plan.stage(stage.name)
        assert found[f"{at}.key"] == stage.key
        if isinstance(stage.work, ir.Training):
            assert found[f"{at}.steps"] == planned_stage.steps == stage.work.steps
            assert found[f"{at}.warmup_steps"] == stage.work.warmup_steps
            assert found[f"{at}.cost_usd"] == planned_stage.cost_usd
            assert planned_stage.memory is not None
            assert found[f"{at}.memory.total"] == planned_stage.memory.total


def test_a_formula_that_lies_is_caught() -> None:
    found, written = every()
    wrong = [ir.Derivation("x", 3, "", "a + b", (ir.Input("a", 1), ir.Input("b", 1)))]
    with pytest.raises(AssertionError):
        hold([*found, *wrong], written)
