"""Next tokens."""

from typing import ClassVar, Literal

from specc import ir
from specc.ir.component import Component
from specc.kinds.objective.base import ObjectiveNode
from specc.kinds.objective.place import DECODER, Place
from specc.spec.base import identity


class Causal(ObjectiveNode):
    """Each token from those before it (Radford et al. 2018, GPT, section 3.1)."""

    models: ClassVar[tuple[str, ...]] = (DECODER,)
    takes_rows: ClassVar[bool] = True

    kind: Literal["causal"] = identity("The choice.")

    def lower(self, place: Place, tokenizer: ir.Tokenizer) -> Component:
        """Nothing has to be said: it is what a runner does unless it is told otherwise."""
        del place, tokenizer
        return Component("objective/causal", fields={"kind": self.kind})
