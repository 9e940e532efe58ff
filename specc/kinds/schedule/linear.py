"""Linear decay."""

from typing import Literal

from specc.ir.component import Component
from specc.kinds.schedule.fall import fall
from specc.spec.base import Node, identity
from specc.spec.quantities import InSteps, Warmup, quantity


class Linear(Node):
    """Linear warm-up, then a straight line down to a share of the peak (Devlin et al. 2019, arXiv:1810.04805)."""

    kind: Literal["linear"] = identity("The choice.")
    warmup: Warmup = identity("How long the learning rate rises.", quantity("1%"))
    min_ratio: float = identity("Final learning rate as a share of the peak.", 0.0, ge=0.0, le=1.0)

    def lower(self, peak: float, steps: int | None, in_steps: InSteps) -> Component:
        """`peak` in learning rate, lengths in optimizer steps."""
        values = {"peak": peak, **fall(peak, self.min_ratio), "warmup": max(1, in_steps(self.warmup))}
        return Component(
            kind="schedule/linear",
            template="train/schedule/linear.py.j2",
            values={**values, "steps": steps},
            fields={"kind": self.kind, "min_ratio": self.min_ratio},
        )
