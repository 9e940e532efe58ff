"""Raw bytes."""

from collections.abc import Iterator
from typing import Literal

from specc import ir
from specc.diagnostics import Finding
from specc.spec.base import Node, identity


class Byte(Node):
    """One id a UTF-8 byte, and one more that starts every document (Xue et al. 2022, ByT5, arXiv:2105.13626)."""

    kind: Literal["byte"] = identity("The choice.")

    def check(self) -> Iterator[Finding]:
        """Nothing to get wrong."""
        yield from ()

    def lower(self) -> ir.Tokenizer:
        """Ids 0 to 255 are the bytes, 256 starts a document."""
        return ir.Tokenizer(self.kind, vocab_size=257, end_of_document=256, bytes_per_token=1.0)
