"""A tokenizer that exists already."""

from typing import Literal

from specc import ir
from specc.spec.base import Node, execution, identity


class Pretrained(Node):
    """The `tokenizer.json` of a directory or of a model on the Hugging Face hub."""

    kind: Literal["pretrained"] = identity("The choice.")
    path: str = execution("Directory, or name on the hub.")
    vocab_size: int = identity("Ids in use, special ones included.", ge=1)
    end_of_document: int = identity("Id that starts every document.", ge=0)

    def lower(self) -> ir.Tokenizer:
        """What the spec declares; how many bytes a token holds only data can tell."""
        return ir.Tokenizer(self.kind, self.vocab_size, self.end_of_document, bytes_per_token=None)
