"""No decay."""

from typing import Literal

from specc.ir.component import Component
from specc.spec.base import Node, identity
from specc.spec.quantities import InSteps, Warmup, quantity


class Constant(Node):
    """Linear warm-up, then the peak to the end (the stable phase of Hu et al. 2024, arXiv:2404.06395)."""

    kind: Literal["constant"] = identity("The choice.")
    warmup: Warmup = identity("How long the learning rate rises.", quantity("1%"))

    def lower(self, peak: float, steps: int | None, in_steps: InSteps) -> Component:
        """`peak` in learning rate, lengths in optimizer steps."""
        return Component(
            kind="schedule/constant",
            template="train/schedule/constant.py.j2",
            values={"peak": peak, "warmup": max(1, in_steps(self.warmup)), "steps": steps},
            fields={"kind": self.kind},
        )
