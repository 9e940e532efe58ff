"""A tokenizer that exists already."""

from collections.abc import Iterator
from typing import Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.tokenizer.chat import TEMPLATE, check_template
from specc.spec.base import Node, identity


class Pretrained(Node):
    """The `tokenizer.json` of a directory or of a model on the Hugging Face hub."""

    kind: Literal["pretrained"] = identity("The choice.")
    path: str = identity("Directory, or name on the hub: another tokenizer makes another experiment.", min_length=1)
    vocab_size: int = identity("Ids in use, special ones included.", ge=1)
    end_of_document: int = identity("Id that starts every document.", ge=0)
    chat_template: str = identity(TEMPLATE, "none")

    def check(self) -> Iterator[Finding]:
        """An id that is used has a number below the number of ids; a chat template exists."""
        if self.end_of_document >= self.vocab_size:
            at = (At(("tokenizer", "end_of_document")), At(("tokenizer", "vocab_size")))
            yield Finding("SPC201", f"id {self.end_of_document:,} is not among {self.vocab_size:,} ids", at)
        yield from check_template(self.chat_template)

    def lower(self) -> ir.Tokenizer:
        """What the spec declares; how many bytes a token holds only data can tell."""
        return ir.Tokenizer(self.kind, self.vocab_size, self.end_of_document, None, self.path, self.chat_template)
