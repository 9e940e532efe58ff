"""Supervised fine-tuning."""

from __future__ import annotations

from typing import ClassVar, Literal

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.finetuning import FinetuningStage
from specc.spec.base import identity


class Sft(FinetuningStage):
    """Imitation of demonstrations (Ouyang et al. 2022, InstructGPT, arXiv:2203.02155, section 3.5)."""

    lowered: ClassVar[bool] = False

    kind: Literal["sft"] = identity("The choice.")
    loss_on: Literal["all", "assistant"] = identity(
        "Tokens that the loss counts: all, or the assistant's turns.", "all"
    )
    messages_field: str = identity("Column of the turns, each with `role` and `content`.", "messages", min_length=1)

    def lower(self, context: StageContext) -> ir.Training:
        """One forward and backward pass a token, counted in the loss or not."""
        return self.lower_from_base(context, loss_on=self.loss_on, messages_field=self.messages_field)
