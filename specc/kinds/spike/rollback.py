"""Go back, and around."""

from typing import Literal

from specc.ir.component import Component
from specc.kinds.spike.watched import Watched
from specc.spec.base import identity
from specc.spec.quantities import Steps, quantity


class Rollback(Watched):
    """Back to a checkpoint from before, and on without the batches around it (Chowdhery et al. 2022, PaLM).

    arXiv:2204.02311, section 5.1. The batches from the checkpoint to the spike are left out, and `skip` after it.
    """

    kind: Literal["rollback"] = identity("The choice.")
    rewind: Steps = identity("The checkpoint is at least so long before the spike.", quantity("100 steps"))
    skip: Steps = identity("Batches after that of the spike that are left out as well.", quantity("200 steps"))
    limit: int = identity("The run ends with an error when it would go back once more than so often.", 3, ge=1)

    def lower(self) -> Component:
        """Lengths in steps."""
        values = {
            "deviations": self.deviations,
            "window": self.window.whole,
            "rewind": self.rewind.whole,
            "skip": self.skip.whole,
            "limit": self.limit,
        }
        fields = {"kind": self.kind}
        return Component("spike/rollback", template="train/spike/rollback.py.j2", values=values, fields=fields)
