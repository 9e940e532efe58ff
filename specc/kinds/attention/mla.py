"""Multi-head latent attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.ir.component import ONES, Component, Dimension, Saved, Weight
from specc.kinds.attention.multihead import View
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.site import Frame, Heads, Site
from specc.spec.base import Node, identity, values_of

_PATH = ("model", "attention")


class Mla(Node):
    """Keys and values of all heads come from one latent vector, and only that is cached (DeepSeek-AI 2024, DeepSeek-V2,
    arXiv:2405.04434, section 2.1). Positions turn a part of each query and one key that all heads share.
    """

    lowered: ClassVar[bool] = False

    kind: Literal["mla"] = identity("The choice.")
    num_heads: int = identity("Heads.", ge=1, le=2**16)
    kv_lora_rank: int = identity("Values of the latent that keys and values come from.", ge=1, le=2**20)
    q_lora_rank: int | None = identity(
        "Values of the latent that queries come from; `null` projects them directly.", None, ge=1, le=2**20
    )
    qk_nope_head_dim: int = identity("Values per query and key head that positions leave alone.", ge=1, le=2**16)
    qk_rope_head_dim: int = identity("Values per query head, and of the shared key, that are turned.", ge=1, le=2**16)
    v_head_dim: int = identity("Values per value head.", ge=1, le=2**16)

    def heads(self, hidden_size: int) -> Heads:
        """The heads as positions see them: the part that is turned."""
        del hidden_size
        return Heads(self.num_heads, self.qk_rope_head_dim, "qk_rope_head_dim")

    def views(self, num_layers: int) -> tuple[View, ...]:
        """Every layer sees the whole past."""
        return tuple("all" for _ in range(num_layers))

    def check(self, frame: Frame) -> Iterator[Finding]:
        """A latent that saves nothing, and positions that cannot turn a part of a head."""
        latent = self.kv_lora_rank + self.qk_rope_head_dim
        plain = self.num_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim + self.v_head_dim)
        if latent >= plain:
            together = f"{self.kv_lora_rank:,} + {self.qk_rope_head_dim:,} of the shared key"
            yield Finding(
                "SPC112",
                f"a latent of {latent:,} values caches no less than plain heads ({plain:,})",
                (At((*_PATH, "kv_lora_rank"), together), At((*_PATH, "num_heads"))),
                help=f"use a `kv_lora_rank` below {plain - self.qk_rope_head_dim:,}, or `kind: mha`",
                severity="warning",
            )
        if frame.position != "rope":
            turned = self.qk_rope_head_dim
            yield Finding(
                "SPC114",
                f"`mla` keeps {turned} values per head for rotary positions, and the positions are `{frame.position}`",
                (At(("model", "position", "kind")), At((*_PATH, "qk_rope_head_dim"))),
                help="use `position: {kind: rope}`",
            )

    def lower(self, site: Site, view: View = "all") -> Component:
        """Projections down to the latents and up to the heads, with a norm in between.

        FLOPs are those of training, where keys and values are made for every head; the cache holds the latent and the
        shared key.
        """
        del view
        width, init, heads = ("D", site.hidden_size), site.init, self.num_heads
        turned, plain = self.qk_rope_head_dim, self.qk_nope_head_dim
        query, made = ("N*Q", heads * (plain + turned)), ("N*M", heads * (plain + self.v_head_dim))
        latent, joint = ("R", self.kv_lora_rank), ("J", self.kv_lora_rank + turned)
        value = ("N*H", heads * self.v_head_dim)
        weights = (
            *self._queries(site, query),
            *linear("kv_a_proj", joint, width, init.matrix, None, bias=False),
            Weight("kv_a_norm.weight", ("R",), (self.kv_lora_rank,), ONES),
            *linear("kv_b_proj", made, latent, init.matrix, 0, bias=False),
            *linear("o_proj", width, value, init.residual, 1, bias=False),
        )
        return Component(
            kind="attention/mla",
            dimensions=(site.width, *self._dimensions()),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            score_flops=2 * (query[1] + value[1]),
            kv_cache_values=joint[1],
            saved=(
                Saved("attention input", site.hidden_size),
                Saved("latents", 2 * (self.kv_lora_rank + (self.q_lora_rank or 0))),
                Saved("queries, keys, values", 2 * query[1] + value[1], split=True),
                Saved("attention output", value[1], split=True),
                Saved("log-sum-exp", heads, 4, split=True),
            ),
            fields=values_of(self),
        )

    def _queries(self, site: Site, query: tuple[str, int]) -> tuple[Weight, ...]:
        width, init = ("D", site.hidden_size), site.init.matrix
        if self.q_lora_rank is None:
            return linear("q_proj", query, width, init, 0, bias=False)
        latent = ("P", self.q_lora_rank)
        return (
            *linear("q_a_proj", latent, width, init, None, bias=False),
            Weight("q_a_norm.weight", ("P",), (self.q_lora_rank,), ONES),
            *linear("q_b_proj", query, latent, init, 0, bias=False),
        )

    def _dimensions(self) -> tuple[Dimension, ...]:
        turned, plain = self.qk_rope_head_dim, self.qk_nope_head_dim
        return (
            Dimension("N", self.num_heads, "heads"),
            Dimension("H", self.v_head_dim, "values per value head"),
            Dimension("Q", plain + turned, "values per query and key head"),
            Dimension("M", plain + self.v_head_dim, "values per head made from the latent"),
            Dimension("R", self.kv_lora_rank, "latent of keys and values"),
            Dimension("J", self.kv_lora_rank + turned, "what is cached per token"),
            *((Dimension("P", self.q_lora_rank, "latent of queries"),) if self.q_lora_rank else ()),
        )
