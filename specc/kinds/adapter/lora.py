"""Low-rank adaptation."""

from typing import Literal

from specc import ir
from specc.ir.component import ZEROS, Component, Initialisation, Weight
from specc.spec.base import Node, identity, values_of


class Lora(Node):
    """Frozen matrices plus a trained product of rank r: W + (alpha / r) B A (Hu et al. 2021, arXiv:2106.09685)."""

    kind: Literal["lora"] = identity("The choice.")
    rank: int = identity("Rank of the product.", ge=1)
    alpha: float = identity("Scale of the product, before the division by the rank.", 32.0, gt=0.0)
    dropout: float = identity("Dropout before A.", 0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = identity(
        "Projections that get an adapter.",
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
    )

    def lower(self, model: ir.Model) -> ir.Component | None:
        """A [rank, in] and B [out, rank] beside every target matrix; A is drawn, B starts at zero."""
        rank, weights = self.rank, []
        for prefix, component in model.placed():
            for weight in component.weights:
                module = (prefix + weight.name).removesuffix(".weight")
                if len(weight.sizes) == 2 and module.rpartition(".")[2] in self.targets:
                    out, into = weight.sizes
                    a = Initialisation("normal", into**-0.5)
                    weights.append(Weight(f"{module}.lora_A.weight", ("R", weight.shape[1]), (rank, into), a))
                    weights.append(Weight(f"{module}.lora_B.weight", (weight.shape[0], "R"), (out, rank), ZEROS))
        return Component(kind="adapter/lora", weights=tuple(weights), fields=values_of(self))
