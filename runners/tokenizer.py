"""Text to token ids and back: the byte tokenizer, whose ids 0 to 255 are the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runners.errors import RunError


@dataclass(frozen=True)
class ByteTokenizer:
    """One token a byte, and one that stands before each document."""

    end_of_document: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the document's first token."""
        return list(text.encode("utf-8"))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; ids that are no byte are left out, and broken UTF-8 shows as replacement characters."""
        return bytes(token for token in ids if token < 256).decode("utf-8", errors="replace")


def tokenizer(declaration: Mapping[str, Any]) -> ByteTokenizer:
    """The tokenizer that the manifest declares."""
    if declaration.get("kind") != "byte":
        raise RunError(f"this version does not run the tokenizer kind `{declaration.get('kind')}`, only `byte`")
    return ByteTokenizer(int(declaration["end_of_document"]))
