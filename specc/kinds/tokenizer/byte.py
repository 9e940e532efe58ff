"""Raw bytes."""

from collections.abc import Iterator
from typing import Literal

from specc import ir
from specc.diagnostics import Finding
from specc.kinds.tokenizer.chat import TEMPLATE, check_template
from specc.spec.base import Node, identity


class Byte(Node):
    """One id a UTF-8 byte, and one more that starts every document (Xue et al. 2022, ByT5, arXiv:2105.13626)."""

    kind: Literal["byte"] = identity("The choice.")
    chat_template: str = identity(TEMPLATE, "none")

    def check(self) -> Iterator[Finding]:
        """A chat template that does not exist."""
        yield from check_template(self.chat_template)

    def lower(self) -> ir.Tokenizer:
        """Ids 0 to 255 are the bytes, 256 starts a document."""
        return ir.Tokenizer(self.kind, 257, 256, 1.0, self.kind, self.chat_template)
