"""Lion."""

from __future__ import annotations

from specc import ir
from specc.kinds.optimizer.plain import PlainLion
from specc.kinds.optimizer.rule import RuleSpec, lower_rules
from specc.spec.base import section


class Lion(PlainLion):
    """The sign of a momentum (Chen et al. 2023, arXiv:2302.06675)."""

    rules: tuple[RuleSpec, ...] = section("What is done differently for some weights; the first match decides.", ())

    def lower(self) -> tuple[ir.OptimizerRule, ...]:
        """The rules in order, the last one for every other weight."""
        return lower_rules(self, self.rules)
