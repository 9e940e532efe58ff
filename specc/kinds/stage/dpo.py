"""Direct preference optimisation."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.preference import ComparingStage
from specc.spec.base import identity
from specc.spec.quantities import BatchSize, quantity


class Dpo(ComparingStage):
    """Preferences without a reward model (Rafailov et al. 2023, arXiv:2305.18290)."""

    lowered: ClassVar[bool] = False

    kind: Literal["dpo"] = identity("The choice.")
    global_batch_size: BatchSize = identity(
        "Tokens or sequences per optimizer step, over all devices; a pair is two sequences: 64 are 32 pairs.",
        quantity("64 sequences"),
    )
    beta: float = identity("How strongly the policy is held to the reference.", 0.1, gt=0.0)

    def lower(self, context: StageContext) -> ir.Training:
        """A pair counts as the two sequences that it is: the chosen and the rejected answer, each with its prompt."""
        return self.lower_from_base(context, beta=self.beta)
