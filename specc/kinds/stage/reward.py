"""Reward modelling."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.finetuning import FinetuningStage
from specc.kinds.stage.mention import REWARD_MODEL
from specc.spec.base import identity
from specc.spec.quantities import BatchSize, quantity


class Reward(FinetuningStage):
    """A model that scores text, learned from pairs (Ouyang et al. 2022, InstructGPT, arXiv:2203.02155, section 3.5)."""

    lowered: ClassVar[bool] = False
    alone: ClassVar[str | None] = "answer"
    leaves: ClassVar[str | None] = REWARD_MODEL

    kind: Literal["reward"] = identity("The choice.")
    global_batch_size: BatchSize = identity(
        "Tokens or sequences per optimizer step, over all devices; a pair is two sequences: 64 are 32 pairs.",
        quantity("64 sequences"),
    )
    margin_field: str | None = identity("Column of by how much the better answer wins; `null` is no margin.", None)

    def lower(self, context: StageContext) -> ir.Training:
        """One forward and backward pass a token of both answers of a pair; the head of one output is not counted."""
        return self.lower_from_base(context, margin_field=self.margin_field)
