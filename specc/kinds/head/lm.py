"""The head of a language model."""

from __future__ import annotations

from typing import Literal

from specc.kinds.head.outputs import Outputs, vocabulary
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

    def lower(self, site: Site, *, tied: bool) -> Outputs:
        """A matrix of vocabulary by width, unless it is the embedding's."""
        values = {"multiplier": self.multiplier * site.init.logits, "softcap": self.softcap}
        return (("lm_head", vocabulary(site, values, values_of(self), tied=tied, bias=self.bias)),)
