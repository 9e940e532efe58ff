"""Decay with the inverse square root of the step."""

from typing import Literal

from specc.ir.component import Component
from specc.spec.base import Node, identity
from specc.spec.quantities import InSteps, Warmup, quantity


class InverseSqrt(Node):
    """Linear warm-up, then peak x sqrt(warm-up / step) (Vaswani et al. 2017, arXiv:1706.03762, section 5.3)."""

    kind: Literal["inverse_sqrt"] = identity("The choice.")
    warmup: Warmup = identity("How long the learning rate rises; it also sets how fast it falls.", quantity("1%"))

    def lower(self, peak: float, steps: int | None, in_steps: InSteps) -> Component:
        """`peak` in learning rate, lengths in optimizer steps."""
        return Component(
            kind="schedule/inverse_sqrt",
            template="train/schedule/inverse_sqrt.py.j2",
            values={"peak": peak, "warmup": max(1, in_steps(self.warmup)), "steps": steps},
            fields={"kind": self.kind},
        )
