"""Multi-head attention."""

from typing import Literal

from specc.ir.component import Component, Dimension, Saved
from specc.kinds.attention.multihead import MultiHead, View
from specc.kinds.linear import linear, matmul_flops
from specc.kinds.site import Site
from specc.spec.base import identity, values_of


class Mha(MultiHead):
    """Every query head has its own key/value head (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2)."""

    kind: Literal["mha"] = identity("The choice.")

    def lower(self, site: Site, view: View = "all") -> Component:
        """Four projections of the same size."""
        heads, width = self.heads(site.hidden_size), ("D", site.hidden_size)
        inner = ("N*H", self.num_heads * heads.head_dim)
        weights = (
            *linear("q_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("k_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("v_proj", inner, width, site.init.matrix, 0, bias=self.bias),
            *linear("o_proj", width, inner, site.init.residual, 1, bias=self.bias),
        )
        scores = self.scores(site, view, "N")
        return Component(
            kind="attention/mha",
            template="model/attention/mha.py.j2",
            values={"bias": self.bias, **scores.values},
            dimensions=(
                site.width,
                Dimension("N", self.num_heads, "heads"),
                Dimension("H", heads.head_dim, "values per head"),
                *scores.dimensions,
            ),
            weights=weights,
            matmul_flops=matmul_flops(weights),
            score_flops=4 * inner[1],
            kv_cache_values=2 * inner[1],
            saved=(
                Saved("attention input", site.hidden_size),
                Saved("queries, keys, values", 3 * inner[1], split=True),
                Saved("attention output", inner[1], split=True),
                *scores.saved,
            ),
            bias_per_layer_stack=scores.bias_per_layer_stack,
            fields=values_of(self),
        )
