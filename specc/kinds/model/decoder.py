"""The causal decoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal

from specc import ir
from specc.diagnostics import Finding
from specc.ir.component import Component, Dimension, Weight
from specc.ir.derivation import parameter_derivations
from specc.kinds.attention import Attention
from specc.kinds.attention.multihead import MultiHead
from specc.kinds.ffn import Ffn
from specc.kinds.init import Init
from specc.kinds.init.depth_scaled import DepthScaled
from specc.kinds.norm import Norm
from specc.kinds.position import Position
from specc.kinds.site import Frame, RowCount, Site
from specc.spec.base import Node, identity, section


class Decoder(Node):
    """Blocks of attention and feed-forward, each after a norm and added to the residual stream (GPT-2, section 2.3)."""

    kind: Literal["decoder"] = identity("The choice.")
    hidden_size: int = identity("Width of the residual stream.", ge=1, le=2**20)
    num_layers: int = identity("Number of blocks.", ge=1, le=10_000)
    context_length: int = identity("Tokens per training sequence.", ge=1, le=2**30)
    attention: Attention = section("How tokens read each other.")
    position: Position = section("How the model knows their order.")
    norm: Norm = section("What comes before attention, feed-forward and head.")
    ffn: Ffn = section("The feed-forward of each block.")
    tie_embeddings: bool = identity("Whether the head shares the token table.")
    vocab_size: RowCount = identity(
        "Rows of the token table before padding; `auto` is one for each id of the tokenizer.", "auto"
    )
    pad_vocab_size_multiple: int = identity("Rows of the token table are rounded up to a multiple of this.", 1, ge=1)
    init: Init = section("Initial weights.", DepthScaled(kind="depth_scaled"))

    def check(self) -> Iterator[Finding]:
        """Sizes that do not fit each other."""
        adds_bias = self.position.adds_bias
        frame = Frame(self.hidden_size, self.num_layers, self.context_length, self.position.kind, adds_bias)
        found = tuple(self.attention.check(frame))
        yield from found
        if not any(finding.code == "SPC101" for finding in found):
            yield from self.position.check(frame, self.attention.heads(self.hidden_size))
        yield from self.ffn.check()

    def rows(self, ids: int) -> int:
        """Rows of the token table for a tokenizer of so many ids, padding included."""
        wanted = ids if self.vocab_size == "auto" else self.vocab_size
        return math.ceil(wanted / self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple

    def lower(self, tokenizer: ir.Tokenizer) -> ir.Model:
        """The model as components in the order of use."""
        vocab_size = self.rows(tokenizer.vocab_size)
        site = Site(
            self.hidden_size,
            self.num_layers,
            self.context_length,
            vocab_size,
            self.init.scheme(self.num_layers),
            self.attention.heads(self.hidden_size),
            self.position.adds_bias,
        )
        norm = self.norm.lower(site)
        views = self.attention.views(self.num_layers)
        attentions = {view: self.attention.lower(site, view) for view in dict.fromkeys(views)}
        ffn = self.ffn.lower(site)
        layers = tuple(
            ir.Layer(
                len(tuple(alike)),
                (("attention_norm", norm), ("attention", attentions[view]), ("ffn_norm", norm), ("ffn", ffn)),
            )
            for view, alike in itertools.groupby(views)
        )
        embedding, position, head = self._embedding(site), self.position.lower(site), self._head(site)
        used = (embedding, norm, *attentions.values(), ffn, position, head)
        dimensions = _unique((*embedding.dimensions, Dimension("L", self.num_layers, "layers"), *_all(used)))
        return ir.Model(self.kind, dimensions, embedding, position, layers, norm, head, self.context_length, vocab_size)

    def derivations(self, tokenizer: ir.Tokenizer, model: ir.Model) -> Iterator[ir.Derivation]:
        """What the lowered model has that the spec does not say."""
        if isinstance(self.attention, MultiHead) and self.attention.head_dim == "auto":
            yield ir.Derivation(
                "model.attention.head_dim",
                self.attention.heads(self.hidden_size).head_dim,
                "Values per head.",
                "hidden_size / num_heads",
                (
                    ir.Input("hidden_size", self.hidden_size, "model.hidden_size"),
                    ir.Input("num_heads", self.attention.num_heads, "model.attention.num_heads"),
                ),
            )
        yield ir.Derivation(
            "model.rows",
            model.vocab_size,
            "Rows of the token table, padding included.",
            "ceil(wanted / multiple) * multiple",
            (
                ir.Input("wanted", tokenizer.vocab_size, "tokenizer.vocab_size")
                if self.vocab_size == "auto"
                else ir.Input("wanted", self.vocab_size, "model.vocab_size"),
                ir.Input("multiple", self.pad_vocab_size_multiple, "model.pad_vocab_size_multiple"),
            ),
        )
        yield from parameter_derivations(model)

    def _embedding(self, site: Site) -> Component:
        vocab = Dimension("V", site.vocab_size, "rows of the embedding")
        weight = Weight("weight", ("V", "D"), (site.vocab_size, site.hidden_size), site.init.embedding, 0)
        return Component("embedding/tokens", dimensions=(vocab, site.width), weights=(weight,))

    def _head(self, site: Site) -> Component:
        sizes = (site.vocab_size, site.hidden_size)
        flops = 2 * sizes[0] * sizes[1]
        saved = (ir.Saved("head input", site.hidden_size),)
        if self.tie_embeddings:
            return Component("head/tied", "model/head/tied.py.j2", matmul_flops=flops, saved=saved)
        weight = Weight("weight", ("V", "D"), sizes, site.init.matrix, 0)
        return Component("head/linear", "model/head/linear.py.j2", weights=(weight,), matmul_flops=flops, saved=saved)


def _all(components: tuple[Component, ...]) -> tuple[Dimension, ...]:
    return tuple(dimension for component in components for dimension in component.dimensions)


def _unique(dimensions: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """One dimension a letter; the first meaning stands."""
    found: dict[str, Dimension] = {}
    for dimension in dimensions:
        found.setdefault(dimension.letter, dimension)
    return tuple(found.values())
