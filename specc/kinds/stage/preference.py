"""What stages that compare with a reference model have in common."""

from __future__ import annotations

from typing import ClassVar

from specc import ir
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.finetuning import FinetuningStage
from specc.kinds.stage.mention import Mention
from specc.spec.base import identity


class ComparingStage(FinetuningStage):
    """A stage whose loss holds a frozen reference model against the one that is trained."""

    alone: ClassVar[str | None] = "answer"

    reference: str | None = identity("Stage, or one of `models`, whose model it is compared with.", None)

    def compares(self) -> bool:
        """Whether the loss asks for the reference at all."""
        return True

    def reads_reference(self) -> bool:
        """The reference reads every token too; its gradients are not needed."""
        return self.compares()

    def mentions(self) -> tuple[Mention, ...]:
        """The model it starts from, and the one it is compared with."""
        named = () if self.reference is None else (Mention(("reference",), self.reference, "model"),)
        return (*super().mentions(), *named)

    def lower_from_base(self, context: StageContext, **options: object) -> ir.Training:
        """Under an adapter the reference is the model below it, unless it is another one than the stage starts from."""
        return super().lower_from_base(context, other_reference=self.reference != self.base, **options)
