"""What stages that start from another stage's model have in common."""

from __future__ import annotations

from collections.abc import Iterator

from specc import ir
from specc.diagnostics import Finding
from specc.kinds.adapter import Adapter
from specc.kinds.adapter.full import Full
from specc.kinds.optimizer import Optimizer
from specc.kinds.optimizer.adamw import AdamW
from specc.kinds.schedule import Schedule
from specc.kinds.schedule.cosine import Cosine
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import Mention
from specc.kinds.stage.training import TrainingStage
from specc.spec.base import identity, section
from specc.spec.quantities import BatchSize, quantity


# Made when they are asked for: pydantic builds a class at its first instance, and most specs need none of these.
def _all_weights() -> Full:
    return Full(kind="full")


def _optimizer() -> AdamW:
    return AdamW(kind="adamw", learning_rate=2e-5, weight_decay=0.0)


def _schedule() -> Cosine:
    return Cosine(kind="cosine", warmup=quantity("3%"))


class FinetuningStage(TrainingStage):
    """A stage that starts from the model of another one."""

    base: str = identity("Stage whose model it starts from.", alias="from")
    adapter: Adapter = section("What is trained.", default_factory=_all_weights)
    global_batch_size: BatchSize = identity(
        "Tokens or sequences per optimizer step, over all devices.", quantity("64 sequences")
    )
    optimizer: Optimizer = section("The optimizer.", default_factory=_optimizer)
    schedule: Schedule = section("The learning rate over time.", default_factory=_schedule)

    def mentions(self) -> tuple[Mention, ...]:
        """The model it starts from, and the data."""
        return (Mention(("from",), self.base, "stage"), *super().mentions())

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """What every training stage checks."""
        yield from self.check_training(name, context_length, datasets)

    def lower_from_base(self, context: StageContext, **options: object) -> ir.Training:
        """The adapter's weights are trained, or all of them where there is none."""
        adapter = self.adapter.lower(context.model)
        trainable = context.model.parameters if adapter is None else adapter.parameters
        return self.lower_training(context, trainable, adapter, **options)
