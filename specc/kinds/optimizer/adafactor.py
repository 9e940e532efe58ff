"""Adafactor."""

from __future__ import annotations

from specc import ir
from specc.kinds.optimizer.plain import PlainAdafactor
from specc.kinds.optimizer.rule import RuleSpec, lower_rules
from specc.spec.base import section


class Adafactor(PlainAdafactor):
    """Factored second moments and relative steps (Shazeer and Stern 2018, arXiv:1804.04235)."""

    rules: tuple[RuleSpec, ...] = section("What is done differently for some weights; the first match decides.", ())

    def lower(self) -> tuple[ir.OptimizerRule, ...]:
        """The rules in order, the last one for every other weight."""
        return lower_rules(self, self.rules)
