"""What every model has in common: blocks of attention and feed-forward, what comes before them and after them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, ClassVar

from specc import ir
from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension
from specc.ir.derivation import parameter_derivations
from specc.kinds.attention import Attention
from specc.kinds.attention.kernel_check import kernel_derivation
from specc.kinds.attention.masks import FUSED
from specc.kinds.attention.multihead import MultiHead, View
from specc.kinds.ffn import FeedForward, Ffn
from specc.kinds.head import Head
from specc.kinds.init import Init
from specc.kinds.init.depth_scaled import DepthScaled
from specc.kinds.model.block import NormPlacement, Residual, arrangement, block
from specc.kinds.model.embedding import DropoutSpec, EmbeddingSpec, inputs, unique
from specc.kinds.norm import Norm
from specc.kinds.position import Position
from specc.kinds.site import Frame, Reads, RowCount, Site
from specc.spec.base import Node, identity, section
from specc.spec.no_code import no_code


class Transformer(Node):
    """Blocks of attention and feed-forward around a residual stream (Vaswani et al. 2017, arXiv:1706.03762)."""

    reads: ClassVar[Reads] = "past"
    """What a query sees."""

    kind: str = identity("The choice.")
    hidden_size: int = identity("Width of the residual stream.", ge=1, le=2**20)
    num_layers: int = identity("Number of blocks.", ge=1, le=10_000)
    context_length: int = identity("Tokens per training sequence.", ge=1, le=2**30)
    embedding: EmbeddingSpec = section("What happens to token vectors first.", default_factory=EmbeddingSpec)
    attention: Attention = section("How tokens read each other.")
    position: Position = section("How the model knows their order.")
    norm: Norm = section("What comes before attention, feed-forward and head.")
    norm_placement: NormPlacement = identity(
        "Where norms stand: before each part (`pre`), after each sum (`post`), around each part (`sandwich`: Gemma 2), "
        "or after it (`output`: OLMo 2).",
        "pre",
    )
    residual: Residual = identity(
        "Whether the feed-forward reads what attention added (`sequential`), or both read the same (`parallel`, "
        "`parallel_two_norms`).",
        "sequential",
    )
    residual_multiplier: float = identity("What each part is multiplied by before it is added.", 1.0, gt=0.0, le=1e6)
    ffn: Ffn = section("The feed-forward of each block.")
    head: Head = section("What is made of the last hidden state.")
    tie_embeddings: bool = identity("Whether the head shares the token table.")
    dropout: DropoutSpec = section("What is dropped while training.", default_factory=DropoutSpec)
    vocab_size: RowCount = identity(
        "Rows of the token table before padding; `auto` is one for each id of the tokenizer.", "auto"
    )
    pad_vocab_size_multiple: int = identity("Rows of the token table are rounded up to a multiple of this.", 1, ge=1)
    init: Init = section("Initial weights.", DepthScaled(kind="depth_scaled"))

    def needs(self, *, apart: bool = False, sees_prefix: bool = False) -> tuple[str, ...]:
        """The abilities that the model around it asks of the attention kernel: `apart` where tokens read nothing before
        their document, `sees_prefix` where they read a prefix as a whole.
        """
        asked = {"prefix": sees_prefix, "dropout": self.dropout.attention > 0, "varlen": apart}
        return (*self.position.needs, *(ability for ability, value in asked.items() if value))

    def check(self, *, apart: bool = False, sees_prefix: bool = False) -> Iterator[Finding]:
        """Sizes that do not fit each other, and what the attention kernel cannot do."""
        frame = self.frame(causal=self.reads == "past", needs=self.needs(apart=apart, sees_prefix=sees_prefix))
        found = tuple(self.attention.check(frame))
        yield from found
        if not any(finding.code == "SPC101" for finding in found):
            yield from self.position.check(frame, self.attention.heads(self.hidden_size))
        yield from self.ffn.check(frame)
        if self.kind != "decoder" and self.attention.kernel in FUSED:
            at = (At(("model", "attention", "kernel")), At(("model", "kind")))
            what = f"the attention kernel `{self.attention.kernel}` in a model of kind `{self.kind}`"
            yield no_code(what, at, "use `kernel: auto`")
        if self.residual != "sequential" and self.norm_placement != "pre":
            yield Finding(
                "SPC120",
                f"`{self.residual}` parts share what stands before them, and norms are placed `{self.norm_placement}`",
                (At(("model", "norm_placement")), At(("model", "residual"))),
                help="use `norm_placement: pre`, or `residual: sequential`",
            )

    def rows(self, ids: int) -> int:
        """Rows of the token table for a tokenizer of so many ids, padding included."""
        wanted = ids if self.vocab_size == "auto" else self.vocab_size
        return math.ceil(wanted / self.pad_vocab_size_multiple) * self.pad_vocab_size_multiple

    def lower(self, tokenizer: ir.Tokenizer, *, apart: bool = False, sees_prefix: bool = False) -> ir.Model:
        """The model as components in the order of use. `apart`: tokens read nothing before their document."""
        document = tokenizer.end_of_document if apart else None
        rows = self.rows(tokenizer.vocab_size)
        site = self.site(rows, self.num_layers, document=document, sees_prefix=sees_prefix)
        layers = self.layers(site)
        before, after = inputs(self.embedding, self.position.lower(site), site), self.after(site, layers)
        depth = Dimension("L", self.num_layers, "layers")
        return self.assembled(site, (depth,), ir.Stack(before, layers, after))

    def assembled(
        self, site: Site, depths: tuple[Dimension, ...], own: ir.Stack, encoder: ir.Stack | None = None
    ) -> ir.Model:
        """The model of its stacks; `depths` are their numbers of layers."""
        stacks = (own,) if encoder is None else (encoder, own)
        parts = [part for stack in stacks for layer in stack.layers for _, part in layer.parts]
        around = [part for stack in stacks for _, part in (*stack.inputs, *stack.outputs)]
        return ir.Model(
            self.kind,
            unique((own.inputs[0][1], Component("layers", dimensions=depths), *parts, *around)),
            own.inputs,
            own.layers,
            own.outputs,
            self.context_length,
            site.vocab_size,
            {
                **self.values(),
                "kernel": site.kernel,
                "needs": self.needs(apart=site.apart, sees_prefix=site.sees_prefix),
                "document": site.document,
            },
            encoder,
        )

    def values(self) -> dict[str, Any]:
        """What the holes of the template's own classes are filled with."""
        return {
            "block": arrangement(self.norm_placement, self.residual),
            "first_attention_norm": self.has_first_norm,
            "residual_multiplier": self.residual_multiplier,
            "residual_dropout": self.dropout.residual,
            "embedding_multiplier": self.embedding.factor(),
            "embedding_dropout": self.dropout.embedding,
            "output_dropout": self.dropout.output,
        }

    @property
    def has_first_norm(self) -> bool:
        """Whether the first block is like all others."""
        return True

    def site(self, vocab_size: int, num_layers: int, *, document: int | None = None, sees_prefix: bool = False) -> Site:
        """What kinds may know of the stack that they stand in."""
        needs = self.needs(apart=document is not None, sees_prefix=sees_prefix)
        return Site(
            self.hidden_size,
            num_layers,
            self.context_length,
            vocab_size,
            self.init.scheme(num_layers, self.hidden_size),
            self.attention.heads(self.hidden_size),
            self.position.adds_bias,
            self.norm,
            self.dropout.drops(),
            self._windowed(num_layers),
            sees_prefix,
            self.reads,
            kernel=self.attention.row(needs).name,
            document=document,
        )

    def frame(self, *, causal: bool, needs: tuple[str, ...] = ()) -> Frame:
        """What kinds check themselves against."""
        return Frame(
            self.hidden_size,
            self.num_layers,
            self.context_length,
            self.position.kind,
            self.position.adds_bias,
            self._windowed(self.num_layers),
            needs,
            causal,
        )

    def _windowed(self, num_layers: int) -> tuple[bool, ...]:
        """For each layer, whether its queries see a window only; only heads with keys of their own can."""
        if isinstance(self.attention, MultiHead):
            return self.attention.windowed(num_layers)
        return (False,) * num_layers

    def after(self, site: Site, layers: tuple[ir.Layer, ...]) -> tuple[tuple[str, Component], ...]:
        """The last norm and the head."""
        del layers
        return (*self.last_norm(site), *self.head.lower(site, tied=self.tie_embeddings))

    def last_norm(self, site: Site) -> tuple[tuple[str, Component], ...]:
        """None after a `post` block, whose last sum is normed already."""
        return () if self.norm_placement == "post" else (("norm", self.norm.lower(site.stream)),)

    def layers(self, site: Site, across: Component | None = None) -> tuple[ir.Layer, ...]:
        """Equal neighbours as one; each sort of attention and of feed-forward is lowered once.

        `across` is the attention to another sequence, where blocks have one.
        """
        name = arrangement(self.norm_placement, self.residual)
        norm = self.norm.lower(site.stream)
        views, plans = self.attention.views(site.num_layers), self.ffn.plans(site.num_layers)
        sorts: tuple[tuple[View, FeedForward], ...] = tuple(zip(views, plans, strict=True))
        attentions = {view: self.attention.lower(site, view) for view, _ in dict.fromkeys(sorts)}
        ffns = {id(ffn): ffn.lower(site) for _, ffn in sorts}
        return tuple(
            ir.Layer(len(tuple(alike)), block(name, attentions[view], ffns[ffn], norm, across))
            for (view, ffn), alike in itertools.groupby((view, id(ffn)) for view, ffn in sorts)
        )

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
        if self.attention.kernel == "auto":
            yield kernel_derivation(self.attention.asked(model.values["needs"]))
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
