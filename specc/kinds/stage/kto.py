"""Kahneman-Tversky optimisation."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.preference import ComparingStage
from specc.spec.base import identity


class Kto(ComparingStage):
    """Completions that are each good or bad, without pairs (Ethayarajh et al. 2024, KTO, arXiv:2402.01306)."""

    lowered: ClassVar[bool] = False

    kind: Literal["kto"] = identity("The choice.")
    beta: float = identity("How strongly the policy is held to the reference.", 0.1, gt=0.0)
    desirable_weight: float = identity("Factor of the loss on good completions.", 1.0, gt=0.0)
    undesirable_weight: float = identity("Factor of the loss on bad completions.", 1.0, gt=0.0)

    def lower(self, context: StageContext) -> ir.Training:
        """One completion a sequence."""
        weights = (self.desirable_weight, self.undesirable_weight)
        return self.lower_from_base(context, beta=self.beta, desirable_weight=weights[0], undesirable_weight=weights[1])
