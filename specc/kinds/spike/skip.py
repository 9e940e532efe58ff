"""Leave the update out."""

from typing import Literal

from specc.ir.component import Component
from specc.kinds.spike.watched import Watched
from specc.spec.base import identity


class Skip(Watched):
    """The weights stay as they are in that step (OLMo Team 2024, arXiv:2501.00656, section 3.2)."""

    kind: Literal["skip"] = identity("The choice.")
    limit: int = identity("The run ends with an error after so many in a row.", 10, ge=1)

    def lower(self) -> Component:
        """Lengths in steps."""
        values = {"deviations": self.deviations, "window": self.window.whole, "limit": self.limit}
        return Component("spike/skip", template="train/spike/skip.py.j2", values=values, fields={"kind": self.kind})
