"""Texts that are token ids already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.source.source import SourceNode, share
from specc.spec.base import files, identity

Globs = Annotated[tuple[str, ...], Field(min_length=1)]
_VALUES = {"uint16": 2**16, "uint32": 2**32}


class Shards(SourceNode):
    """Files of token ids, as Megatron-LM and nanoGPT keep them (Shoeybi et al. 2019, arXiv:1909.08053)."""

    lowered: ClassVar[bool] = False

    kind: Literal["shards"] = identity("The choice.")
    path: str | Globs = files("Glob of the files, or a list of globs.")
    dtype: Literal["uint16", "uint32"] = identity("Type of one id.")
    sequence_length: int | None = identity("Ids in a stored row; `null` where a file is one long row.", None, ge=2)
    tokenizer: str = identity("Tokenizer that wrote them, as this spec names one: `byte`, or its `path`.", min_length=1)
    weight: float | None = share()

    def places(self) -> tuple[str, ...]:
        """The globs."""
        return (self.path,) if isinstance(self.path, str) else self.path

    def check(self, at: Path, tokenizer: ir.Tokenizer, context_length: int) -> Iterator[Finding]:
        """Another tokenizer than the experiment's, ids that the type cannot hold, rows that are too short."""
        if self.tokenizer != tokenizer.name:
            yield Finding(
                "SPC206",
                f"the shards were written with `{self.tokenizer}`, and the experiment uses `{tokenizer.name}`",
                (At((*at, "tokenizer")), At(("tokenizer",), of_key=True)),
                ("the same id is another piece of text in each",),
                help=f"write them again with `{tokenizer.name}`, or take the tokenizer that wrote them",
            )
        elif tokenizer.vocab_size > _VALUES[self.dtype]:
            yield Finding(
                "SPC205",
                f"token ids up to {tokenizer.vocab_size - 1:,} do not fit in `{self.dtype}` shards",
                (At((*at, "dtype"), f"holds 0 to {_VALUES[self.dtype] - 1:,}"), At(("tokenizer", "vocab_size"))),
                help="use `dtype: uint32`, and write the shards so",
            )
        if self.sequence_length is not None and self.sequence_length < context_length + 1:
            yield self._short(at, context_length)

    def _short(self, at: Path, context_length: int) -> Finding:
        length = self.sequence_length or 0
        return Finding(
            "SPC208",
            f"stored rows hold {length:,} tokens, and a context of {context_length:,} needs {context_length + 1:,}",
            (At((*at, "sequence_length")), At(("model", "context_length"))),
            ("each token of the context is asked for the one after it: one more than the context is read",),
            help=f"write rows of {context_length + 1:,} tokens, or train with `context_length: {length - 1}`",
        )
