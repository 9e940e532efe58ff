"""Multi-head attention."""

from typing import Literal

from specc.ir.component import Component, Dimension, Saved
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.site import HeadDim, Heads, Site
from specc.spec.base import Node, identity


class Mha(Node):
    """Every query head has its own key/value head (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."""

    kind: Literal["mha"] = identity("The choice.")
    num_heads: int = identity("Heads.", ge=1, le=2**16)
    head_dim: HeadDim = identity("Values per head; `auto` is hidden_size / num_heads.", "auto")
    bias: bool = identity("Whether the query, key, value and output projections have biases.", False)

    def heads(self, hidden_size: int) -> Heads:
        """Sizes of the heads."""
        return Heads(self.num_heads, hidden_size // self.num_heads if self.head_dim == "auto" else self.head_dim)

    def lower(self, site: Site) -> Component:
        """Four projections of the same size."""
        heads, width = self.heads(site.hidden_size), ("D", site.hidden_size)
        inner = ("N*H", self.num_heads * heads.head_dim)
        weights = (
            *linear("q_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("k_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("v_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("o_proj", width, inner, site.init.residual, 1, bias=self.bias),
        )
        return Component(
            kind="attention/mha",
            template="model/attention/mha.py.j2",
            values={"bias": self.bias, "kv": "N"},
            dimensions=(
                site.width,
                Dimension("N", self.num_heads, "heads"),
                Dimension("H", heads.head_dim, "values per head"),
            ),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            score_flops=4 * inner[1],
            kv_cache_values=2 * inner[1],
            saved=(
                Saved("attention input", site.hidden_size),
                Saved("queries, keys, values", 3 * inner[1], split=True),
                Saved("attention output", inner[1], split=True),
                Saved("log-sum-exp", self.num_heads, 4, split=True),
            ),
            fields=self.model_dump(),
        )
