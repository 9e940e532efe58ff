"""Cosine decay."""

from typing import Literal

from specc.ir.component import Component
from specc.kinds.schedule.fall import fall
from specc.spec.base import Node, identity
from specc.spec.quantities import InSteps, Warmup, quantity


class Cosine(Node):
    """Linear warm-up, then half a cosine down to a share of the peak (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    kind: Literal["cosine"] = identity("The choice.")
    warmup: Warmup = identity("How long the learning rate rises.", quantity("1%"))
    min_ratio: float = identity("Final learning rate as a share of the peak.", 0.1, ge=0.0, le=1.0)

    def lower(self, peak: float, steps: int | None, in_steps: InSteps) -> Component:
        """`peak` in learning rate, lengths in optimizer steps."""
        warmup = max(1, in_steps(self.warmup))
        return Component(
            kind="schedule/cosine",
            template="train/schedule/cosine.py.j2",
            values={"peak": peak, **fall(peak, self.min_ratio), "warmup": warmup, "steps": steps},
            fields={"kind": self.kind, "min_ratio": self.min_ratio},
        )
