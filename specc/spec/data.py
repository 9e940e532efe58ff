"""Data sets: sources, filters, and what is held out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specc import ir
from specc.kinds.filter import Filter
from specc.spec.base import Identifier, Node, execution, files, identity, section
from specc.spec.quantities import Percent, Tokens, quantity

Globs = Annotated[tuple[str, ...], Field(min_length=1)]


class FileSource(Node):
    """Files that match a glob.

    `${python:stdlib}` stands for the folder of Python's standard library, `${env:NAME}` for an environment variable.
    """

    path: str | Globs = files("Glob, or a list of globs. Where a text lies does not change what it says.")
    exclude: tuple[str, ...] = files("Globs of files to leave out.", ())
    text_field: str = identity("Column of the text in structured files.", "text")
    weight: float | None = identity(
        "Share of the mixture, relative to the other sources; none in all of them pools the sources.", None, gt=0.0
    )


class Data(Node):
    """A mixture of sources."""

    sources: dict[Identifier, FileSource] = section("Sources by name.", min_length=1)
    filters: tuple[Filter, ...] = section("What keeps or drops documents, in order.", ())
    holdout: Percent = identity("Share of the documents that no stage trains on, chosen by a hash.", quantity("1%"))
    tokens: Tokens | None = execution("Size in tokens, where it is known: durations in epochs need it.", None)

    def lower(self, name: str) -> ir.Dataset:
        """The mixture as plain values, for the manifest."""
        sources = {key: source.model_dump(mode="json") for key, source in self.sources.items()}
        filters = tuple(filter_.model_dump(mode="json") for filter_ in self.filters)
        tokens = None if self.tokens is None else self.tokens.whole
        return ir.Dataset(name, sources, filters, self.holdout.share, tokens)
