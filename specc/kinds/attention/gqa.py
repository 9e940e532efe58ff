"""Grouped-query attention."""

from collections.abc import Iterator
from typing import Literal

from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension, Saved
from specc.kinds.attention.multihead import MultiHead, View
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.numbers import either, nearest_divisors
from specc.kinds.site import Frame, Site
from specc.spec.base import identity, values_of

_PATH = ("model", "attention")


class Gqa(MultiHead):
    """Query heads share fewer key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."""

    kind: Literal["gqa"] = identity("The choice.")
    num_kv_heads: int = identity("Key/value heads; each serves num_heads / num_kv_heads query heads.", ge=1, le=2**16)

    def check(self, frame: Frame) -> Iterator[Finding]:
        """Query heads that do not divide among the key/value heads, and what every attention checks."""
        yield from super().check(frame)
        queries, keys = self.num_heads, self.num_kv_heads
        unsplit = self.head_dim == "auto" and frame.hidden_size % queries
        if queries % keys and not unsplit:
            yield Finding(
                "SPC102",
                f"{queries} query heads do not divide among {keys} key/value heads",
                (
                    At((*_PATH, "num_kv_heads"), f"{queries} / {keys} leaves {queries % keys}"),
                    At((*_PATH, "num_heads")),
                ),
                help=f"use {either(nearest_divisors(queries, keys))}",
            )

    def lower(self, site: Site, view: View = "all") -> Component:
        """Four projections. Where a bias is added to the scores, keys and values are repeated for every query head.

        CUDA kernels that take a bias do not group heads (PyTorch falls back to materialised scores), so the expanded
        copies are the smaller cost, and the planner counts them.
        """
        heads, width = self.heads(site.hidden_size), ("D", site.hidden_size)
        query, key = ("N*H", self.num_heads * heads.head_dim), ("K*H", self.num_kv_heads * heads.head_dim)
        weights = (
            *linear("q_proj", query, width, site.init.matrix, 0, bias=self.bias),
            *linear("k_proj", key, width, site.init.matrix, 0, bias=self.bias),
            *linear("v_proj", key, width, site.init.matrix, 0, bias=self.bias),
            *linear("o_proj", width, query, site.init.residual, 1, bias=self.bias),
        )
        scores = self.scores(site, view, "K")
        expanded = 2 * query[1] if scores.expanded else 0
        return Component(
            kind="attention/gqa",
            template="model/attention/gqa.py.j2",
            values={"bias": self.bias, **scores.values},
            dimensions=(
                site.width,
                Dimension("N", self.num_heads, "query heads"),
                Dimension("K", self.num_kv_heads, "key/value heads"),
                Dimension("H", heads.head_dim, "values per head"),
                *scores.dimensions,
            ),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            score_flops=4 * query[1],
            kv_cache_values=2 * key[1],
            saved=(
                Saved("attention input", site.hidden_size),
                Saved("queries, keys, values", query[1] + 2 * key[1] + expanded, split=True),
                Saved("attention output", query[1], split=True),
                *scores.saved,
            ),
            bias_per_layer_stack=scores.bias_per_layer_stack,
            fields=values_of(self),
        )
