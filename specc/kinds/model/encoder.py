"""The encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.attention import MultiHeads
from specc.kinds.head import ReadingHead
from specc.kinds.head.masked_lm import MaskedLm
from specc.kinds.model.embedding import TypedEmbeddingSpec
from specc.kinds.model.stack import Transformer
from specc.kinds.site import Reads, Site
from specc.spec.base import identity, section


class Encoder(Transformer):
    """Every token sees the tokens before it and after it (Devlin et al. 2019, BERT, arXiv:1810.04805)."""

    reads: ClassVar[Reads] = "both"

    kind: Literal["encoder"] = identity("The choice.")
    embedding: TypedEmbeddingSpec = section("What happens to token vectors first.", default_factory=TypedEmbeddingSpec)
    attention: MultiHeads = section("How tokens read each other.")
    head: ReadingHead = section("What is made of the last hidden state.", default_factory=lambda: MaskedLm())
    tie_embeddings: bool = identity("Whether the head of a masked language model shares the token table.", True)
    first_attention_norm: bool = identity(
        "Whether the first block has a norm before its attention; ModernBERT, whose embeddings come out of a norm, has "
        "none.",
        True,
    )

    def check(self, *, apart: bool = False, sees_prefix: bool = False) -> Iterator[Finding]:
        """What every model checks, a first block that is not there, and a table that no head reads."""
        yield from super().check(apart=apart, sees_prefix=sees_prefix)
        if not self.first_attention_norm and (self.norm_placement != "pre" or self.residual != "sequential"):
            yield Finding(
                "SPC142",
                f"blocks of `{self._arrangement}` have no norm before their attention alone that the first could lack",
                (At(("model", "first_attention_norm")), self._at_arrangement),
                help="leave `first_attention_norm` out",
            )
        if not self.tie_embeddings and not isinstance(self.head, MaskedLm):
            yield Finding(
                "SPC143",
                f"a head of kind `{self.head.kind}` has no table of tokens that could differ from the embedding's",
                (At(("model", "tie_embeddings")), At(("model", "head", "kind"))),
                help="leave `tie_embeddings` out",
            )

    @property
    def has_first_norm(self) -> bool:
        """As written."""
        return self.first_attention_norm

    @property
    def _arrangement(self) -> str:
        return self.norm_placement if self.residual == "sequential" else self.residual

    @property
    def _at_arrangement(self) -> At:
        return At(("model", "norm_placement" if self.residual == "sequential" else "residual"))

    def layers(self, site: Site, across: ir.Component | None = None) -> tuple[ir.Layer, ...]:
        """The first block apart where it has no norm before its attention."""
        first, *rest = super().layers(site, across)
        if self.first_attention_norm:
            return (first, *rest)
        bare = ir.Layer(1, tuple((name, part) for name, part in first.parts if name != "attention_norm"))
        return (bare, *((replace(first, count=first.count - 1),) if first.count > 1 else ()), *rest)
