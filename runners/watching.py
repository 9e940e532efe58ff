"""What a run remembers of its losses, so that it sees a spike or the end of progress, also after it was resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from runners.early_stopping import Best
from runners.errors import RunError
from runners.spikes import IGNORE_SPIKES, OnSpike, Rollback, Skip, judge


class Rewind(Exception):
    """The run is to go back to a checkpoint of `before` or earlier."""

    def __init__(self, reason: str, before: int) -> None:
        super().__init__(reason)
        self.before = before


@dataclass
class Watch:
    """The memory of the loop. It is part of every checkpoint."""

    rule: OnSpike = IGNORE_SPIKES
    losses: list[float] = field(default_factory=list)
    """Of the last steps that were no spikes, up to the window of the rule."""
    left_out: int = 0
    """Batches that were passed over: the batch of step s is number s + left_out."""
    rollbacks: int = 0
    in_a_row: int = 0
    """Updates that were left out one after the other."""
    best: Best = field(default_factory=Best)

    def scalars(self) -> dict[str, Any]:
        """What a checkpoint keeps; JSON has no infinity."""
        best = {**asdict(self.best), "loss": self.best.loss if math.isfinite(self.best.loss) else None}
        names = ("losses", "left_out", "rollbacks", "in_a_row")
        return {**{name: getattr(self, name) for name in names}, "best": best}

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; nothing where it kept nothing."""
        for name in ("left_out", "rollbacks", "in_a_row"):
            setattr(self, name, int(kept.get(name, 0)))
        self.losses = [float(loss) for loss in kept.get("losses", ())]
        best = kept.get("best") or {}
        loss = best.get("loss")
        self.best = Best(math.inf if loss is None else float(loss), int(best.get("waited", 0)))

    def updates(self, step: int, loss: float, norm: float, advice: str, *, may_overflow: bool) -> bool:
        """Whether the gradients of a step are applied; `step` counts it.

        Rewind where the run goes back, RunError with the `advice` where it ends. With `may_overflow` an infinite norm
        is the business of the loss scale.
        """
        found = judge(self.rule, self.losses, loss, 0.0 if may_overflow and math.isfinite(loss) else norm)
        if found == "fine":
            self.in_a_row = 0
            if self.rule.window:
                self.losses = [*self.losses, loss][-self.rule.window :]
            return True
        what = f"the loss is {loss:.6g} and the norm of the gradient {norm:.6g} in step {step:,}"
        if found == "high":
            what += f", more than {self.rule.deviations:g} deviations above the {self.rule.window:,} losses before"
        self._answer(what, step, advice)
        return False

    def rewound(self, spike: int, to: int, counted: int) -> None:
        """Leave out the batches around a spike, once the state of step `to` is back after `counted` rollbacks."""
        assert isinstance(self.rule, Rollback), "only that rule goes back"
        self.rollbacks = counted + 1
        self.left_out += spike - to + self.rule.skip

    def _answer(self, what: str, step: int, advice: str) -> None:
        """Return where the update is left out."""
        if isinstance(self.rule, Rollback):
            if self.rollbacks >= self.rule.limit:
                raise RunError(f"{what}; the run went back {self.rollbacks} times already; {advice}")
            raise Rewind(what, step - self.rule.rewind)
        if isinstance(self.rule, Skip):
            self.in_a_row += 1
            if self.in_a_row <= self.rule.limit:
                return
            raise RunError(f"{what}; {self.rule.limit} updates in a row were left out already; {advice}")
        raise RunError(f"{what}; {advice}")
