"""The head of a classifier of sequences."""

from __future__ import annotations

from typing import Literal

from specc.kinds.head.outputs import DenseSpec, Outputs, Pooling, classifier, dense, dropped, pooled, pooler
from specc.kinds.site import Site
from specc.spec.base import Node, identity, section


class Classification(Node):
    """Scores of the classes of a sequence (Devlin et al. 2019, BERT, arXiv:1810.04805, section 4.1)."""

    kind: Literal["classification"] = identity("The choice.")
    num_labels: int = identity("Classes.", ge=1, le=2**20)
    pooling: Pooling = identity(
        "The vector of a sequence: that of its first token (BERT's `[CLS]`), the mean, or that of its last token.",
        "first",
    )
    pooler: bool = identity("Whether a dense layer with tanh follows (BERT, RoBERTa).", False)
    pooler_dropout: float = identity("Share of its input that is dropped (RoBERTa).", 0.0, ge=0.0, lt=1.0)
    transform: DenseSpec | None = section("A further dense layer (ModernBERT); `null` is none.", None)
    dropout: float = identity("Share of what the classifier reads that is dropped.", 0.0, ge=0.0, lt=1.0)
    bias: bool = identity("Whether each class has a bias.", True)

    def lower(self, site: Site, *, tied: bool) -> Outputs:
        """The vector of a sequence, dense layers, and a matrix of labels by width."""
        del tied
        before = pooler(site) if self.pooler else ()
        further = () if self.transform is None else dense(site, "transform", self.transform, per_sequence=True)
        return (
            *pooled(self.pooling),
            *dropped("pooler_dropout", self.pooler_dropout),
            *before,
            *further,
            *dropped("dropout", self.dropout),
            *classifier(site, self.num_labels, "[B, Y]", bias=self.bias, per_sequence=True),
        )
