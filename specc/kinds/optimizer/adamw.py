"""AdamW."""

from __future__ import annotations

from specc import ir
from specc.kinds.optimizer.plain import PlainAdamW
from specc.kinds.optimizer.rule import RuleSpec, lower_rules
from specc.spec.base import section


class AdamW(PlainAdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    rules: tuple[RuleSpec, ...] = section("What is done differently for some weights; the first match decides.", ())

    def lower(self) -> tuple[ir.OptimizerRule, ...]:
        """The rules in order, the last one for every other weight."""
        return lower_rules(self, self.rules)
