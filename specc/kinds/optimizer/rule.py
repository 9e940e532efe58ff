"""What an optimizer does differently for some weights."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.optimizer.plain import PlainOptimizer, RuleOptimizer
from specc.spec.base import Node, identity, section
from specc.spec.quantities import LearningRateScale, quantity


class RuleSpec(Node):
    """Weights by a pattern over their names. The first rule that matches a weight decides."""

    match: str = identity(
        "Weights by name, as in `model.py`; `*` stands for anything: `embedding.*`, `*.bias`.", min_length=1
    )
    learning_rate: LearningRateScale = identity("Their learning rate as a multiple of the optimizer's.", quantity("1x"))
    weight_decay: float | None = identity("Their weight decay; `null` is the optimizer's.", None, ge=0.0)
    optimizer: RuleOptimizer | None = section("Their optimizer; `null` is that of the stage.", None)


def lower_rules(base: PlainOptimizer, rules: tuple[RuleSpec, ...]) -> tuple[ir.OptimizerRule, ...]:
    """The rules in order, and last what holds for every other weight; scales are relative to the rate of `base`."""
    peak = Fraction(str(base.learning_rate))
    lowered = []
    for rule in rules:
        chosen = rule.optimizer or base
        scale = rule.learning_rate.amount * Fraction(str(chosen.learning_rate)) / peak
        lowered.append(ir.OptimizerRule(rule.match, chosen.settings(rule.weight_decay), float(scale)))
    return (*lowered, ir.OptimizerRule("*", base.settings(), 1.0))


def check_rules(rules: tuple[RuleSpec, ...], at: Path) -> Iterator[Finding]:
    """A decay that a rule gives twice. `at` is the path of the optimizer."""
    for index, rule in enumerate(rules):
        if rule.weight_decay is None or rule.optimizer is None or rule.optimizer.weight_decay == rule.weight_decay:
            continue
        place: Path = (*at, "rules", index)
        yield Finding(
            "SPC313",
            f"rule `{rule.match}` gives two weight decays: {rule.weight_decay:g} and {rule.optimizer.weight_decay:g}",
            (At((*place, "weight_decay")), At((*place, "optimizer"))),
            help=f"write `optimizer: {{weight_decay: {rule.weight_decay}}}`, and leave the other one out",
        )
