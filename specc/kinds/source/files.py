"""Files on a disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.source.source import SourceNode, share
from specc.spec.base import files, identity

Globs = Annotated[tuple[str, ...], Field(min_length=1)]


class Files(SourceNode):
    """Text files and tables of texts that match a glob (POSIX.1-2017, section 2.13; `**` is any number of folders).

    `${python:stdlib}` stands for the folder of Python's standard library, `${env:NAME}` for an environment variable.
    """

    lowered: ClassVar[bool] = True

    kind: Literal["files"] = identity("The choice; a source without a kind is of this one.", "files")
    path: str | Globs = files("Glob of the files, or a list of globs; where a text lies does not change what it says.")
    exclude: tuple[str, ...] = files("Globs of files to leave out.", ())
    text_field: str = identity("Column of the text in structured files.", "text")
    weight: float | None = share()

    def check(self, at: Path, tokenizer: ir.Tokenizer, context_length: int) -> Iterator[Finding]:
        """Paths that a shell would expand, and nobody does here."""
        del tokenizer, context_length
        for index, glob in enumerate(self.places()):
            meant = re.sub(r"\$(\w+)", r"${env:\1}", re.sub(r"^~(?=/|$)", "${env:HOME}", glob))
            if meant == glob:
                continue
            where: Path = (*at, "path") if isinstance(self.path, str) else (*at, "path", index)
            headline = f"`{glob}` is taken as it stands: `~` and `$NAME` are not expanded"
            yield Finding("SPC219", headline, (At(where),), help=f"use `{meant}`", severity="warning")

    def places(self) -> tuple[str, ...]:
        """The globs."""
        return (self.path,) if isinstance(self.path, str) else self.path
