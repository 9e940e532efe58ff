"""Warm-up, stable, decay."""

from typing import Literal

from specc.ir.component import Component
from specc.kinds.schedule.fall import fall
from specc.spec.base import Node, identity
from specc.spec.quantities import InSteps, Warmup, quantity


class Wsd(Node):
    """Linear warm-up, the peak, and a fall at the end (Hu et al. 2024, arXiv:2404.06395; shapes arXiv:2405.18392)."""

    kind: Literal["wsd"] = identity("The choice.")
    warmup: Warmup = identity("How long the learning rate rises.", quantity("1%"))
    decay: Warmup = identity("How long it falls, up to the end.", quantity("10%"))
    shape: Literal["linear", "cosine", "sqrt"] = identity("How it falls: `sqrt` is 1 - sqrt, fast at first.", "sqrt")
    min_ratio: float = identity("Final learning rate as a share of the peak.", 0.0, ge=0.0, le=1.0)

    def lower(self, peak: float, steps: int | None, in_steps: InSteps) -> Component:
        """`peak` in learning rate, lengths in optimizer steps."""
        decay = in_steps(self.decay, True)
        values = {"peak": peak, **fall(peak, self.min_ratio), "warmup": max(1, in_steps(self.warmup))}
        return Component(
            kind="schedule/wsd",
            template=f"train/schedule/{_TEMPLATES[self.shape]}.py.j2",
            values={
                **values,
                "decay": max(1, decay),
                "start": None if steps is None else steps - decay,
                "steps": steps,
            },
            fields={"kind": self.kind, "shape": self.shape, "min_ratio": self.min_ratio},
        )


_TEMPLATES = {"linear": "wsd_linear", "cosine": "wsd_cosine", "sqrt": "wsd_sqrt"}
