"""When training no longer helps: the validation loss has not fallen for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class EarlyStopping:
    """Prechelt 1998, "Early stopping - but when?", section 2 (the criterion UP)."""

    patience: int
    """Measurements without a better one after which the run ends."""
    min_delta: float
    """Nats per token by which a measurement must be lower than the best to be better."""


@dataclass(frozen=True)
class Best:
    """The lowest validation loss so far."""

    loss: float = math.inf
    waited: int = 0
    """Measurements since then."""

    def after(self, loss: float, rule: EarlyStopping) -> Best:
        """The same after one more measurement."""
        better = loss < self.loss - rule.min_delta
        return Best(loss) if better else replace(self, waited=self.waited + 1)

    def is_over(self, rule: EarlyStopping) -> bool:
        """Whether the run ends."""
        return self.waited >= rule.patience
