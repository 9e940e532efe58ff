"""The head of a model of embeddings."""

from __future__ import annotations

from typing import Literal

from specc.ir.component import Component
from specc.kinds.head.outputs import Outputs, Pooling, pooled, pooler
from specc.kinds.site import Site
from specc.spec.base import Node, identity, values_of


class Pooled(Node):
    """One vector of each sequence (Reimers and Gurevych 2019, Sentence-BERT, arXiv:1908.10084, section 3)."""

    kind: Literal["pooled"] = identity("The choice.")
    pooling: Pooling = identity(
        "That of its first token (BERT's `[CLS]`), the mean over its tokens, or that of its last token.", "first"
    )
    pooler: bool = identity("Whether a dense layer with tanh follows, as in BERT's own output.", False)
    normalize: bool = identity("Whether the vector is scaled to length 1.", False)

    def lower(self, site: Site, *, tied: bool) -> Outputs:
        """The vector, and a dense layer where there is one."""
        del tied
        before = pooler(site) if self.pooler else ()
        template = "pooled_normalized" if self.normalize else "pooled"
        last = Component("head/pooled", f"model/head/{template}.py.j2", fields=values_of(self))
        return (*pooled(self.pooling), *before, ("pooled", last))
