"""The head of a classifier of tokens."""

from __future__ import annotations

from typing import Literal

from specc.kinds.head.outputs import DenseSpec, Outputs, classifier, dense, dropped
from specc.kinds.site import Site
from specc.spec.base import Node, identity, section


class TokenClassification(Node):
    """Scores of the classes of each token (Devlin et al. 2019, BERT, arXiv:1810.04805, section 5.3)."""

    kind: Literal["token_classification"] = identity("The choice.")
    num_labels: int = identity("Classes.", ge=1, le=2**20)
    transform: DenseSpec | None = section("A dense layer before the classifier (ModernBERT); `null` is none.", None)
    dropout: float = identity("Share of what the classifier reads that is dropped.", 0.0, ge=0.0, lt=1.0)
    bias: bool = identity("Whether each class has a bias.", True)

    def lower(self, site: Site, *, tied: bool) -> Outputs:
        """A dense layer, and a matrix of labels by width."""
        del tied
        before = () if self.transform is None else dense(site, "transform", self.transform)
        after = classifier(site, self.num_labels, "[B, T, Y]", bias=self.bias, per_sequence=False)
        return (*before, *dropped("dropout", self.dropout), *after)
