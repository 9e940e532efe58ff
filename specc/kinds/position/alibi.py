"""Attention with linear biases."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.ir.component import Component, Dimension
from specc.kinds.site import Frame, Heads, Site
from specc.spec.base import Node, identity, values_of

_BIASES = {"fp32": "model/position/alibi_bias_fp32.py.j2", "bf16": "model/position/alibi_bias_bf16.py.j2"}
_SCORES = {
    ("flex", "fp32"): "model/score/alibi.py.j2",
    ("flex", "bf16"): "model/score/alibi_bf16.py.j2",
    ("flash", "fp32"): "model/score/slopes.py.j2",
}
"""What kernels are given that add the bias by themselves."""


class Alibi(Node):
    """A penalty on the scores that grows with distance, one slope a head (Press et al. 2022, arXiv:2108.12409).

    Slopes in bf16 are those of Falcon-RW, which also rounds slope times position: the key's, not the distance. They
    differ by a constant for each query, which softmax does not see, and by what is rounded.

    The attention kernel takes the bias in the type of the queries: in bf16 it keeps 8 bits, as in BLOOM, so that the
    flattest head of 64 sees distances beyond 256 in steps.
    """

    adds_bias: ClassVar[bool] = True

    kind: Literal["alibi"] = identity("The choice.")
    max_bias: float = identity("Slopes are powers of 2^(-max_bias / heads); 8 in the paper.", 8.0, gt=0.0, le=1e3)
    slope_precision: Literal["fp32", "bf16"] = identity("What slopes are computed in; `bf16` in Falcon-RW.", "fp32")
    multiplier: float = identity(
        "What the bias is multiplied by; Falcon-RW divides it by the root of head_dim, as the scores.", 1.0, gt=0.0
    )

    def check(self, frame: Frame, heads: Heads) -> Iterator[Finding]:
        """Rounding that is written for positions of the past only; slopes exist for every number of heads."""
        del heads
        if self.slope_precision == "bf16" and not frame.causal:
            headline = "`bf16` slopes round the position of a key, and an encoder has distances to both sides"
            at = (At(("model", "position", "slope_precision")), At(("model", "kind")))
            yield Finding("SPC140", headline, at, help="use `slope_precision: fp32`")

    @property
    def needs(self) -> tuple[str, ...]:
        """Slopes in fp32, which kernels know; a product that is rounded to bf16 is a bias of its own."""
        return ("alibi",) if self.slope_precision == "fp32" else ("bias",)

    def lower(self, site: Site) -> Component:
        """No weights; one bias [heads, context, context], shared by all layers, or the slopes where the kernel adds it.

        A rounded product depends on where the key stands in its document, and is then made for each sequence.
        """
        heads = site.heads.num_heads
        largest = 2 ** int(math.log2(heads))
        slopes = "alibi_slopes" if largest == heads else "alibi_slopes_interleaved"
        causal = site.reads == "past"
        score = _SCORES.get((site.kernel, self.slope_precision)) if causal else None
        placed = site.apart and self.slope_precision == "bf16"
        bias = _BIASES[self.slope_precision] if causal else "model/position/alibi_bias_two_sided.py.j2"
        return Component(
            kind="position/alibi",
            template=f"model/position/{'slopes' if score else 'alibi'}.py.j2",
            values={
                "slopes": f"model/position/{slopes}.py.j2",
                "bias": "model/position/documents/alibi_bias_bf16.py.j2" if placed else bias,
                "rounded": self.slope_precision == "bf16",
                "function": "alibi_bias" if causal else "two_sided_bias",
                "placed": placed,
                "each": "B" if placed else "1",
                "score": score,
                "max_bias": self.max_bias,
                "steepest": f"{self.max_bias:g}",
                "multiplier": None if self.multiplier == 1.0 else self.multiplier,
                "largest": largest,
                "rest": heads - largest,
            },
            dimensions=(Dimension("N", heads, "query heads"),),
            bias_per_layer_stack=0 if score or placed else heads,
            by_head=("alibi_slopes",),
            bias_per_sequence=heads if placed and not score else 0,
            fields=values_of(self),
        )
