"""Evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import Finding
from specc.kinds.baseline import Baseline
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import Mention
from specc.spec.base import Node, execution, identity, section, values_of


class Evaluate(Node):
    """Scores of models on suites, by lm-eval (Biderman et al. 2024, arXiv:2405.14782)."""

    lowered: ClassVar[bool] = True
    leaves: ClassVar[str | None] = None
    families: ClassVar[tuple[str, ...]] = ("decoder",)

    kind: Literal["evaluate"] = identity("The choice.")
    models: tuple[str, ...] = identity("Stages whose models are scored.", min_length=1)
    suites: tuple[str, ...] = identity("Suites they are scored on.", min_length=1)
    baselines: tuple[Baseline, ...] = section("Plain models that are scored beside them.", ())
    limit: int | None = identity("First N documents of each task only; `null` is all.", None, ge=1)
    batch_size: int = execution("Sequences per forward pass.", 16, ge=1)
    weights: Literal["last", "ema"] = identity("The weights of the last step, or the average that `ema` keeps.", "last")

    def mentions(self) -> tuple[Mention, ...]:
        """The models that are scored, what they are scored on, and the data of baselines."""
        return (
            *(Mention(("models", index), name, "stage") for index, name in enumerate(self.models)),
            *(Mention(("suites", index), name, "suite") for index, name in enumerate(self.suites)),
            *(Mention(("baselines", index, "data"), one.data, "data") for index, one in enumerate(self.baselines)),
        )

    def reads(self, context: StageContext) -> tuple[str, ...]:
        """Data sets whose held-out documents are scored, in the order of use."""
        tasks = [task.data for suite in self.suites for task in context.suites[suite].tasks]
        return tuple(name for name in (*tasks, *(baseline.data for baseline in self.baselines)) if name is not None)

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """Nothing that references do not show."""
        del name, context_length, datasets
        yield from ()

    def lower(self, context: StageContext) -> ir.Evaluation:
        """The suites in full."""
        suites = tuple(context.suites[suite] for suite in self.suites)
        baselines = tuple(values_of(baseline) for baseline in self.baselines)
        averaged = self.weights == "ema"
        return ir.Evaluation(self.models, suites, baselines, self.limit, self.batch_size, averaged)
