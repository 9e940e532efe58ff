"""AdamW."""

from typing import Annotated, Literal

from pydantic import Field

from specc.ir.component import Component
from specc.spec.base import Node, identity

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class AdamW(Node):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

    kind: Literal["adamw"] = identity("The choice.")
    learning_rate: float = identity("Peak learning rate.", gt=0.0)
    betas: tuple[Beta, Beta] = identity("Decay of the first and second moment.", (0.9, 0.95))
    eps: float = identity("Added to the root of the second moment.", 1e-8, gt=0.0)
    weight_decay: float = identity("Decay of matrices; vectors are never decayed.", 0.1, ge=0.0)

    def lower(self) -> Component:
        """Two fp32 moments a parameter."""
        return Component(
            kind="optimizer/adamw",
            template="train/optimizer/adamw.py.j2",
            values={**self.model_dump(exclude={"kind"}), "state_bytes_per_parameter": 8},
            fields=self.model_dump(),
        )
