"""What happens to token vectors before the first block."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from specc import ir
from specc.ir.component import Component, Dimension, Expression, Saved, Weight
from specc.kinds.attention.masks import FUSED
from specc.kinds.norm import Norm
from specc.kinds.site import Drops, Site
from specc.spec.base import Node, identity, section

Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class EmbeddingSpec(Node):
    """The token table and what is done with its rows."""

    multiplier: Annotated[float, Field(gt=0.0, le=1e6)] | Literal["sqrt_hidden_size"] = identity(
        "What token vectors are multiplied by; `sqrt_hidden_size` as in Vaswani et al. 2017, section 3.4, and Gemma.",
        1.0,
    )
    norm: Norm | None = section("Norm of the sum of all embeddings (BLOOM, BERT); `null` is none.", None)

    def factor(self) -> float | Expression:
        """The multiplier as generated code says it."""
        return Expression("D**0.5") if self.multiplier == "sqrt_hidden_size" else self.multiplier


class TypedEmbeddingSpec(EmbeddingSpec):
    """The token table of an encoder."""

    token_types: int = identity(
        "Sorts of tokens that have a vector each: two in BERT, for the first text and the second. 0 has none.",
        0,
        ge=0,
        le=2**20,
    )


class DropoutSpec(Node):
    """Shares of values that are set to zero while training (Srivastava et al. 2014, JMLR 15)."""

    embedding: Share = identity("Of the input of the first block.", 0.0)
    attention: Share = identity("Of the shares that tokens give each other.", 0.0)
    residual: Share = identity("Of what attention and feed-forward add to the residual stream.", 0.0)
    ffn: Share = identity("Of the inner values of the feed-forward (T5).", 0.0)
    output: Share = identity("Of what comes out of the last norm (T5).", 0.0)

    def drops(self) -> Drops:
        """The same for kinds."""
        return Drops(self.embedding, self.attention, self.residual, self.ffn, self.output)


def token_table(site: Site) -> Component:
    """Rows of the vocabulary."""
    vocab = Dimension("V", site.vocab_size, "rows of the embedding")
    weight = Weight("weight", ("V", "D"), (site.vocab_size, site.hidden_size), site.init.embedding, 0)
    # Made once, before the blocks; unlike other masks there is one for each sequence.
    saved = (Saved("prefix mask", site.context_length),) if site.sees_prefix and site.kernel not in FUSED else ()
    return Component("embedding/tokens", dimensions=(vocab, site.width), weights=(weight,), saved=saved)


def inputs(embedding: EmbeddingSpec, position: Component, site: Site) -> tuple[tuple[str, Component], ...]:
    """Everything before the blocks, in the order of use."""
    table = token_table(site)
    types = (("token_type_embedding", _types(site, count)),) if (count := getattr(embedding, "token_types", 0)) else ()
    parts: tuple[tuple[str, Component], ...] = (("embedding", table), *types, ("position_embedding", position))
    if embedding.norm is None:
        return parts
    norm = embedding.norm.lower(site.stream, site.norm_name(embedding.norm, "EmbeddingNorm"))
    return (*parts, ("embedding_norm", norm))


def _types(site: Site, count: int) -> Component:
    """A row for each sort of tokens."""
    weight = Weight("weight", ("J", "D"), (count, site.hidden_size), site.init.embedding)
    return Component(
        "embedding/types", dimensions=(Dimension("J", count, "token types"), site.width), weights=(weight,)
    )


def unique(components: tuple[ir.Component, ...]) -> tuple[Dimension, ...]:
    """One dimension a letter; the first meaning stands. Two sizes of one letter are a mistake in the kinds."""
    found: dict[str, Dimension] = {}
    for component in components:
        for dimension in component.dimensions:
            first = found.setdefault(dimension.letter, dimension)
            assert first.size == dimension.size, f"{first.letter} is {first.meaning} and {dimension.meaning}"
    return tuple(found.values())
