"""Direct preference optimisation."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.preference import ComparingStage
from specc.spec.base import identity


class Dpo(ComparingStage):
    """Preferences without a reward model (Rafailov et al. 2023, arXiv:2305.18290)."""

    lowered: ClassVar[bool] = False

    kind: Literal["dpo"] = identity("The choice.")
    beta: float = identity("How strongly the policy is held to the reference.", 0.1, gt=0.0)

    def lower(self, context: StageContext) -> ir.Training:
        """A pair counts as the two sequences that it is."""
        return self.lower_from_base(context, beta=self.beta)
