"""Raw bytes."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import Finding
from specc.kinds.objective.place import NOTHING, Needs, special_from
from specc.kinds.tokenizer.chat import TEMPLATE, check_template
from specc.spec.base import Node, identity

_BYTES = 256


class Byte(Node):
    """One id a UTF-8 byte, and one more that starts every document (Xue et al. 2022, ByT5, arXiv:2105.13626)."""

    has_merges: ClassVar[bool] = False

    kind: Literal["byte"] = identity("The choice.")
    chat_template: str = identity(TEMPLATE, "none")

    def check(self) -> Iterator[Finding]:
        """A chat template that does not exist."""
        yield from check_template(self.chat_template)

    def lower(self, needs: Needs = NOTHING) -> ir.Tokenizer:
        """Ids 0 to 255 are the bytes, 256 starts a document; special tokens that objectives need follow."""
        special = special_from(_BYTES + 1, needs)
        ids = _BYTES + 1 + needs.count
        return ir.Tokenizer(self.kind, ids, _BYTES, 1.0, self.kind, self.chat_template, special, _BYTES)

    def lacks(self, needs: Needs) -> tuple[tuple[str, str], ...]:
        """Nothing: it has as many special tokens as it takes."""
        del needs
        return ()
