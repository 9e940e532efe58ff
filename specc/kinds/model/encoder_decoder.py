"""The encoder-decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from specc import ir
from specc.diagnostics import At, Finding
from specc.ir.component import Dimension
from specc.kinds.attention import MultiHeads
from specc.kinds.head import WritingHead
from specc.kinds.head.lm import Lm
from specc.kinds.model.embedding import inputs
from specc.kinds.model.stack import Transformer
from specc.kinds.numbers import either, nearest_multiples
from specc.spec.base import identity, section

LayerCount = Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"]
"""Blocks, or as many as the encoder has."""


class EncoderDecoder(Transformer):
    """One stack reads a sequence, another writes the next and sees what was read (Vaswani et al. 2017,
    arXiv:1706.03762; Raffel et al. 2020, T5, arXiv:1910.10683). Both have the same sizes, and one token table.
    """

    kind: Literal["encoder_decoder"] = identity("The choice.")
    num_layers: int = identity("Number of blocks of the encoder.", ge=1, le=10_000)
    num_decoder_layers: LayerCount = identity(
        "Number of blocks of the decoder; `auto` is as many as the encoder has.", "auto"
    )
    context_length: int = identity(
        "Tokens per training sequence, of those that are read and of those that are written.", ge=1, le=2**30
    )
    attention: MultiHeads = section("How tokens read each other, and those of the decoder what the encoder made.")
    head: WritingHead = section("What is made of the last hidden state.", Lm(kind="lm"))

    def check(self, *, apart: bool = False, sees_prefix: bool = False) -> Iterator[Finding]:
        """What every model checks of its causal stack, the same of the encoder, and parts that cannot be parallel."""
        found = tuple(super().check(apart=apart, sees_prefix=sees_prefix))
        yield from found
        codes = {finding.code for finding in found}
        if "SPC101" not in codes:
            again = self.position.check(self.frame(causal=False), self.attention.heads(self.hidden_size))
            yield from (finding for finding in again if finding.code not in codes)
        if self.residual != "sequential":
            yield Finding(
                "SPC144",
                f"a decoder that reads an encoder has three parts in a block, and `{self.residual}` is said of two",
                (At(("model", "residual")), At(("model", "kind"))),
                help="use `residual: sequential`",
            )
        yield from self._check_pattern()

    @property
    def depth(self) -> int:
        """Blocks of the decoder."""
        return self.num_layers if self.num_decoder_layers == "auto" else self.num_decoder_layers

    def lower(self, tokenizer: ir.Tokenizer, *, apart: bool = False, sees_prefix: bool = False) -> ir.Model:
        """Two stacks; attention to what was read is of the same kind as that of tokens to each other."""
        del apart  # there is no code for it: check_documents
        site = self.site(self.rows(tokenizer.vocab_size), self.depth, sees_prefix=sees_prefix)
        reading = replace(self.site(site.vocab_size, self.num_layers), reads="both", prefix="Encoder")
        layers = self.layers(site, self.attention.across(site))
        own = ir.Stack(inputs(self.embedding, self.position.lower(site), site), layers, self.after(site, layers))
        # The token table is that of the model.
        around = inputs(self.embedding, self.position.lower(reading), reading)[1:]
        encoder = ir.Stack(around, self.layers(reading), self.last_norm(reading))
        depths = (
            Dimension("Y", self.num_layers, "layers of the encoder"),
            Dimension("L", self.depth, "layers of the decoder"),
        )
        return self.assembled(site, depths, own, encoder)

    def derivations(self, tokenizer: ir.Tokenizer, model: ir.Model) -> Iterator[ir.Derivation]:
        """The same as of every model, and the blocks of the decoder."""
        yield from super().derivations(tokenizer, model)
        if self.num_decoder_layers == "auto":
            yield ir.Derivation(
                "model.num_decoder_layers",
                self.depth,
                "Number of blocks of the decoder.",
                "num_layers",
                (ir.Input("num_layers", self.num_layers, "model.num_layers"),),
            )

    def _check_pattern(self) -> Iterator[Finding]:
        """A pattern that tiles the encoder and not the decoder."""
        pattern = self.attention.pattern
        if pattern is None or self.num_decoder_layers == "auto" or self.depth % len(pattern) == 0:
            return
        left = f"{self.depth} / {len(pattern)} leaves {self.depth % len(pattern)}"
        at = (
            At(("model", "attention", "pattern"), f"{len(pattern)} layers"),
            At(("model", "num_decoder_layers"), left),
        )
        counts = either(nearest_multiples(self.depth, len(pattern)))
        headline = f"the pattern `{pattern}` does not tile {self.depth} layers"
        yield Finding("SPC107", headline, at, help=f"use {counts} layers")
