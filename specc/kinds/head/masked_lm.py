"""The head of a masked language model."""

from __future__ import annotations

from typing import Literal

from specc.kinds.head.outputs import DenseSpec, Outputs, dense, vocabulary
from specc.kinds.site import Site
from specc.spec.base import Node, identity, section, values_of


class MaskedLm(Node):
    """Scores of every token of the vocabulary after a dense layer (Devlin et al. 2019, BERT, arXiv:1810.04805)."""

    kind: Literal["masked_lm"] = identity("The choice.")
    transform: DenseSpec | None = section("The dense layer before the table; `null` is none.", None)
    bias: bool = identity("Whether each token has a bias.", True)

    def lower(self, site: Site, *, tied: bool) -> Outputs:
        """The dense layer, and a matrix of vocabulary by width unless it is the embedding's."""
        before = () if self.transform is None else dense(site, "transform", self.transform)
        return (
            *before,
            ("lm_head", vocabulary(site, {"multiplier": site.init.logits}, values_of(self), tied=tied, bias=self.bias)),
        )
