"""Text to token ids and back: bytes, or the `tokenizer.json` that another model was trained with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runners.documents import file_hash
from runners.errors import RunError
from runners.places import beside_spec

FILE = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
NARROW, WIDE = np.dtype("<u2"), np.dtype("<u4")


class Tokenizer(Protocol):
    """What runners ask of a tokenizer."""

    @property
    def end_of_document(self) -> int:
        """The id that stands before each document."""

    @property
    def ends(self) -> frozenset[int]:
        """Ids that end a text which a model writes."""

    @property
    def vocab_size(self) -> int:
        """Ids in use: each is below it."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the document's first token."""

    def encode_bytes(self, content: bytes) -> np.ndarray | None:
        """Ids of a document; None where it is no text to this tokenizer."""

    def split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of a text in two parts, cut where the second begins."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; what stands for no text is left out."""


@dataclass(frozen=True)
class ByteTokenizer:
    """One token a byte, and one that stands before each document."""

    end_of_document: int
    vocab_size: int = 257

    @property
    def ends(self) -> frozenset[int]:
        """The beginning of the next document."""
        return frozenset({self.end_of_document})

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the document's first token."""
        return list(text.encode("utf-8"))

    def encode_bytes(self, content: bytes) -> np.ndarray:
        """The bytes as they are, also where they are no UTF-8."""
        return np.frombuffer(content, np.uint8)

    def split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Each part for itself: no token reaches over the cut."""
        return self.encode(context), self.encode(continuation)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; ids that are no byte are left out, and broken UTF-8 shows as replacement characters."""
        return bytes(token for token in ids if token < 256).decode("utf-8", errors="replace")


@dataclass(frozen=True)
class PretrainedTokenizer:
    """A `tokenizer.json` of the tokenizers library."""

    folder: Path
    end_of_document: int
    vocab_size: int

    @cached_property
    def library(self) -> Any:
        """The tokenizer of the library, loaded when it is first needed."""
        try:
            import tokenizers  # most runs are on bytes
        except ModuleNotFoundError:
            raise RunError("a tokenizer of kind `pretrained` needs tokenizers: pip install 'specc[train]'") from None
        return tokenizers.Tokenizer.from_file(str(self.folder / FILE))

    @cached_property
    def ends(self) -> frozenset[int]:
        """The beginning of the next document, and what the tokenizer's own settings call the end of a text."""
        settings = self.folder / SETTINGS
        said = json.loads(settings.read_text(encoding="utf-8")).get("eos_token") if settings.is_file() else None
        content = said.get("content") if isinstance(said, dict) else said
        found = None if content is None else self.library.token_to_id(content)
        return frozenset({self.end_of_document} | ({found} if found is not None else set()))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the tokens that the tokenizer puts around it."""
        return list(self.library.encode(text, add_special_tokens=False).ids)

    def encode_bytes(self, content: bytes) -> np.ndarray | None:
        """None where the bytes are no UTF-8."""
        try:
            return np.array(self.encode(content.decode("utf-8")), dtype=np.int64)
        except UnicodeDecodeError:
            return None

    def split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As lm-eval cuts: blanks at the end of the context belong to the word that follows them.

        Both are encoded together, and the ids after as many as the context has alone are the continuation's.
        """
        blanks = len(context) - len(context.rstrip())
        if blanks:
            context, continuation = context[:-blanks], context[-blanks:] + continuation
        given = self.encode(context)
        return given, self.encode(context + continuation)[len(given) :]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special ones left out."""
        return str(self.library.decode(list(ids), skip_special_tokens=True))


def tokenizer(declaration: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the manifest declares; RunError where it is not there, or is another one than it says."""
    if _is_of_bytes(declaration):
        return ByteTokenizer(int(declaration["end_of_document"]))
    end = int(declaration["end_of_document"])
    found = PretrainedTokenizer(_folder(declaration), end, int(declaration["vocab_size"]))
    _check(found, declaration.get("sha256"))
    return found


def content_hash(declaration: Mapping[str, Any]) -> str | None:
    """SHA-256 of the tokenizer's file; None where it has none, as bytes have."""
    return None if _is_of_bytes(declaration) else file_hash(_folder(declaration) / FILE)


def token_type(vocab_size: int) -> np.dtype[Any]:
    """The narrowest of two types that holds every id of a tokenizer, little endian."""
    return NARROW if vocab_size <= np.iinfo(NARROW).max + 1 else WIDE


def _is_of_bytes(declaration: Mapping[str, Any]) -> bool:
    """Whether it needs no file; RunError for a kind that this version does not run."""
    kind = declaration.get("kind")
    if kind not in ("byte", "pretrained"):
        raise RunError(f"this version does not run the tokenizer kind `{kind}`, only `byte` and `pretrained`")
    return bool(kind == "byte")


def _folder(declaration: Mapping[str, Any]) -> Path:
    folder = beside_spec(str(declaration.get("path", "")))
    if not (folder / FILE).is_file():
        raise RunError(
            f"tokenizer: {folder} holds no {FILE}; `tokenizer.path` is a folder, seen from the spec's, and nothing is "
            "fetched from a hub"
        )
    return folder


def _check(found: PretrainedTokenizer, sha256: str | None) -> None:
    if sha256 is not None and file_hash(found.folder / FILE) != sha256:
        raise RunError(f"{found.folder / FILE} is not the file of `tokenizer.sha256`: another tokenizer")
    ids = found.library.get_vocab(with_added_tokens=True).values()
    largest = max(ids, default=-1)
    if largest >= found.vocab_size:
        raise RunError(
            f"{found.folder / FILE} has ids up to {largest:,}, and `tokenizer.vocab_size` is {found.vocab_size:,}: "
            f"use {largest + 1}"
        )
