"""Grouped-query attention."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc.diagnostics import At, Finding
from specc.kinds.attention.multihead import MultiHead
from specc.kinds.numbers import either, nearest_divisors
from specc.kinds.site import Frame
from specc.spec.base import identity

_PATH = ("model", "attention")


class Gqa(MultiHead):
    """Query heads share fewer key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."""

    cited: ClassVar[str] = (
        "Grouped-query attention: N query heads share K key/value heads (Ainslie et al. 2023, arXiv:2305.13245)."
    )

    kind: Literal["gqa"] = identity("The choice.")
    num_kv_heads: int = identity("Key/value heads; each serves num_heads / num_kv_heads query heads.", ge=1, le=2**16)

    @property
    def key_letter(self) -> str:
        """Keys and values have a number of heads of their own."""
        return "K"

    @property
    def key_heads(self) -> int:
        """As written."""
        return self.num_kv_heads

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
