"""End the run."""

from typing import Literal

from specc.ir.component import Component
from specc.kinds.spike.watched import Watched
from specc.spec.base import identity


class Stop(Watched):
    """The run ends with an error, and its checkpoints stay (Zhang et al. 2022, OPT, arXiv:2205.01068, section 2.5)."""

    kind: Literal["stop"] = identity("The choice.")

    def lower(self) -> Component:
        """Lengths in steps."""
        values = {"deviations": self.deviations, "window": self.window.whole}
        return Component("spike/stop", template="train/spike/stop.py.j2", values=values, fields={"kind": self.kind})
