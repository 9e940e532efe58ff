"""AdamW with 8-bit states."""

from __future__ import annotations

from specc import ir
from specc.kinds.optimizer.plain import PlainAdamW8bit
from specc.kinds.optimizer.rule import RuleSpec, lower_rules
from specc.spec.base import section


class AdamW8bit(PlainAdamW8bit):
    """AdamW on moments of 8 bits, in blocks of 256 that share a scale (Dettmers et al. 2022, arXiv:2110.02861)."""

    rules: tuple[RuleSpec, ...] = section("What is done differently for some weights; the first match decides.", ())

    def lower(self) -> tuple[ir.OptimizerRule, ...]:
        """The rules in order, the last one for every other weight."""
        return lower_rules(self, self.rules)
