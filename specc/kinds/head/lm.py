"""The head of a language model."""

from __future__ import annotations

from typing import Literal

from specc.ir.component import ZEROS, Component, Saved, Weight
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class Lm(Node):
    """Scores of every token of the vocabulary, from its own table or the embedding's (Press and Wolf 2017,
    arXiv:1608.05859).
    """

    kind: Literal["lm"] = identity("The choice.")
    bias: bool = identity("Whether each token has a bias (Phi, GPT-J).", False)
    multiplier: float = identity("What logits are multiplied by (Cohere, Granite, T5).", 1.0, gt=0.0, le=1e6)
    softcap: float | None = identity(
        "Bound that logits approach: c tanh(logit / c); `null` bounds nothing (Gemma 2).", None, gt=0.0
    )

    def lower(self, site: Site, *, tied: bool) -> Component:
        """A matrix of vocabulary by width, unless it is the embedding's."""
        sizes = (site.vocab_size, site.hidden_size)
        matrix = () if tied else (Weight("weight", ("V", "D"), sizes, site.init.head, 0),)
        bias = (Weight("bias", ("V",), sizes[:1], ZEROS, 0),) if self.bias else ()
        template = ("tied_bias" if self.bias else "tied") if tied else "lm"
        return Component(
            f"head/{template}",
            f"model/head/{template}.py.j2",
            values={"bias": self.bias, "multiplier": self.multiplier * site.init.logits, "softcap": self.softcap},
            weights=(*matrix, *bias),
            matmul_flops=2 * sizes[0] * sizes[1],
            saved=(Saved("head input", site.hidden_size),),
            fields=values_of(self),
        )
