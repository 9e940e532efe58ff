"""Muon."""

from __future__ import annotations

from specc import ir
from specc.kinds.optimizer.plain import PlainMuon
from specc.kinds.optimizer.rule import RuleSpec, lower_rules
from specc.spec.base import section


class Muon(PlainMuon):
    """Momentum with orthogonal steps, for matrices (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982)."""

    rules: tuple[RuleSpec, ...] = section("What is done differently for some weights; the first match decides.", ())

    def lower(self) -> tuple[ir.OptimizerRule, ...]:
        """The rules in order, the last one for every other weight."""
        return lower_rules(self, self.rules)
