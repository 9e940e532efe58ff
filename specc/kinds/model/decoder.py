"""The causal decoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension, Weight
from specc.ir.derivation import parameter_derivations
from specc.kinds.attention import Attention
from specc.kinds.ffn import Ffn
from specc.kinds.init import Init
from specc.kinds.init.depth_scaled import DepthScaled
from specc.kinds.norm import Norm
from specc.kinds.position import Position
from specc.kinds.site import Site
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
    pad_vocab_size_multiple: int = identity("Rows of the token table are rounded up to a multiple of this.", 1, ge=1)
    init: Init = section("Initial weights.", DepthScaled(kind="depth_scaled"))

    def check(self) -> Iterator[Finding]:
        """Sizes that do not fit each other."""
        attention, at = self.attention, ("model", "attention")
        if attention.head_dim == "auto" and self.hidden_size % attention.num_heads:
            yield self._unsplit()
            return
        groups = getattr(attention, "num_kv_heads", attention.num_heads)
        if attention.num_heads % groups:
            left = f"{attention.num_heads} / {groups} leaves {attention.num_heads % groups}"
            yield Finding(
                "SPC102",
                f"{attention.num_heads} query heads do not divide among {groups} key/value heads",
                (At((*at, "num_kv_heads"), left), At((*at, "num_heads"))),
                help=f"use {_or(_nearest_divisors(attention.num_heads, groups))}",
            )
        problem = self.position.unfit(attention.heads(self.hidden_size))
        if problem is not None:
            where = "num_heads" if attention.head_dim == "auto" else "head_dim"
            yield Finding("SPC103", problem, (At(("model", "position", "kind")), At((*at, where))))

    def lower(self, tokenizer: ir.Tokenizer) -> ir.Model:
        """The model as components in the order of use."""
        multiple = self.pad_vocab_size_multiple
        vocab_size = math.ceil(tokenizer.vocab_size / multiple) * multiple
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
        parts = (
            ("attention_norm", norm),
            ("attention", self.attention.lower(site)),
            ("ffn_norm", norm),
            ("ffn", self.ffn.lower(site)),
        )
        embedding, position, head = self._embedding(site), self.position.lower(site), self._head(site)
        used = (embedding, *(part for _, part in parts), position, head)
        dimensions = _unique((*embedding.dimensions, Dimension("L", self.num_layers, "layers"), *_all(used)))
        layers = (ir.Layer(self.num_layers, parts),)
        return ir.Model(self.kind, dimensions, embedding, position, layers, norm, head, self.context_length, vocab_size)

    def derivations(self, tokenizer: ir.Tokenizer, model: ir.Model) -> Iterator[ir.Derivation]:
        """What the lowered model has that the spec does not say."""
        if self.attention.head_dim == "auto":
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
            "model.vocab_size",
            model.vocab_size,
            "Rows of the token table, padding included.",
            "ceil(ids / multiple) * multiple",
            (
                ir.Input("ids", tokenizer.vocab_size, "tokenizer.vocab_size"),
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

    def _unsplit(self) -> Finding:
        heads = self.attention.num_heads
        return Finding(
            "SPC101",
            f"hidden_size {self.hidden_size:,} does not split into {heads} heads",
            (
                At(
                    ("model", "attention", "num_heads"),
                    f"{self.hidden_size} / {heads} leaves {self.hidden_size % heads}",
                ),
                At(("model", "hidden_size")),
            ),
            help=f"use {_or(_nearest_divisors(self.hidden_size, heads))} heads, or set `attention.head_dim`",
        )


def _nearest_divisors(number: int, wanted: int) -> tuple[int, ...]:
    """The closest divisor below and above."""
    below = max((d for d in range(1, min(wanted, number) + 1) if number % d == 0), default=None)
    above = next((d for d in range(wanted, number + 1) if number % d == 0), None)
    return tuple(sorted({d for d in (below, above) if d is not None}))


def _or(values: tuple[int, ...]) -> str:
    return " or ".join(str(value) for value in values)


def _all(components: tuple[Component, ...]) -> tuple[Dimension, ...]:
    return tuple(dimension for component in components for dimension in component.dimensions)


def _unique(dimensions: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """One dimension a letter; the first meaning stands."""
    found: dict[str, Dimension] = {}
    for dimension in dimensions:
        found.setdefault(dimension.letter, dimension)
    return tuple(found.values())
