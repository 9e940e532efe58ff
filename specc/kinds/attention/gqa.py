"""Grouped-query attention."""

from typing import Literal

from specc.ir.component import Component, Dimension, Saved
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.site import HeadDim, Heads, Site
from specc.spec.base import Node, identity


class Gqa(Node):
    """Query heads share fewer key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."""

    kind: Literal["gqa"] = identity("The choice.")
    num_heads: int = identity("Query heads.", ge=1, le=2**16)
    num_kv_heads: int = identity("Key/value heads; each serves num_heads / num_kv_heads query heads.", ge=1, le=2**16)
    head_dim: HeadDim = identity("Values per head; `auto` is hidden_size / num_heads.", "auto")
    bias: bool = identity("Whether the query, key, value and output projections have biases.", False)

    def heads(self, hidden_size: int) -> Heads:
        """Sizes of the query heads."""
        return Heads(self.num_heads, hidden_size // self.num_heads if self.head_dim == "auto" else self.head_dim)

    def lower(self, site: Site) -> Component:
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
        expanded = 2 * query[1] if site.adds_bias else 0
        return Component(
            kind="attention/gqa",
            template=f"model/attention/{'gqa_expanded' if site.adds_bias else 'gqa'}.py.j2",
            values={"bias": self.bias, "kv": "K"},
            dimensions=(
                site.width,
                Dimension("N", self.num_heads, "query heads"),
                Dimension("K", self.num_kv_heads, "key/value heads"),
                Dimension("H", heads.head_dim, "values per head"),
            ),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            score_flops=4 * query[1],
            kv_cache_values=2 * key[1],
            saved=(
                Saved("attention input", site.hidden_size),
                Saved("queries, keys, values", query[1] + 2 * key[1] + expanded, split=True),
                Saved("attention output", query[1], split=True),
                Saved("log-sum-exp", self.num_heads, 4, split=True),
            ),
            fields=self.model_dump(),
        )
