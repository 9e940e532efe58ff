"""Losses that jump: what counts as one, and what a run does about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Literal


@dataclass(frozen=True)
class Ignore:
    """Train on; what is no number ends the run."""

    window: int = 0
    deviations: float = math.inf


@dataclass(frozen=True)
class Skip:
    """Leave the update out."""

    deviations: float
    window: int
    limit: int
    """Steps in a row that may be left out."""


@dataclass(frozen=True)
class Rollback:
    """Go back to a checkpoint, and on without the batches around the spike."""

    deviations: float
    window: int
    rewind: int
    """Steps from the checkpoint to the spike at least."""
    skip: int
    """Batches after that of the spike that are left out."""
    limit: int
    """How often a run may go back."""


@dataclass(frozen=True)
class Stop:
    """End the run."""

    deviations: float
    window: int


OnSpike = Ignore | Skip | Rollback | Stop
Verdict = Literal["fine", "high", "no number"]
IGNORE_SPIKES = Ignore()


def judge(rule: OnSpike, before: Sequence[float], loss: float, norm: float) -> Verdict:
    """What a loss is after those before it, and with this norm of its gradient.

    Mean and deviation are of the last `rule.window` losses; while there are fewer, none is high.
    """
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return "no number"
    if not rule.window or len(before) < rule.window:
        return "fine"
    losses = before[-rule.window :]
    # Losses that are all the same, to the bit, have no deviation that says anything.
    deviation = pstdev(losses)
    return "high" if deviation > 0 and loss > fmean(losses) + rule.deviations * deviation else "fine"
