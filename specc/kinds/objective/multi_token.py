"""Several next tokens."""

from typing import ClassVar, Literal

from specc import ir
from specc.ir.component import Component
from specc.kinds.objective.base import ObjectiveNode
from specc.kinds.objective.place import DECODER, Place
from specc.spec.base import identity, values_of


class MultiToken(ObjectiveNode):
    """The next token and those after it, by the parts that `model.prediction` adds (Gloeckle et al. 2024,
    arXiv:2404.19737, section 2; DeepSeek-AI 2024, DeepSeek-V3, arXiv:2412.19437, section 2.2).
    """

    models: ClassVar[tuple[str, ...]] = (DECODER,)
    predicts_several: ClassVar[bool] = True
    takes_rows: ClassVar[bool] = True

    kind: Literal["multi_token"] = identity("The choice.")
    weight: float = identity(
        "Weight of the loss of each further token; that of the next one is 1. DeepSeek-V3 has 0.3 for one further.",
        1.0,
        gt=0.0,
    )

    def lower(self, place: Place, tokenizer: ir.Tokenizer) -> Component:
        """A weight a token."""
        del tokenizer
        weights = (1.0, *(self.weight for _ in range(place.depth - 1)))
        values = {"weights": weights}
        return Component("objective/multi_token", "train/objective/multi_token.py.j2", values, fields=values_of(self))
