"""Data sets: sources, filters, and what is held out."""

from __future__ import annotations

from specc import ir
from specc.kinds.filter import Filter
from specc.kinds.source import Source
from specc.spec.base import Identifier, Node, execution, identity, section, values_of
from specc.spec.quantities import Percent, Tokens, quantity


class Data(Node):
    """A mixture of sources."""

    sources: dict[Identifier, Source] = section("Sources by name.", min_length=1)
    normalize_weights: bool = identity("Whether weights are divided by their sum; else they must add up to 1.", False)
    filters: tuple[Filter, ...] = section("What keeps or drops documents, in order.", ())
    holdout: Percent = identity("Share of the documents that no stage trains on, chosen by a hash.", quantity("1%"))
    tokens: Tokens | None = execution("Size in tokens, where it is known: durations in epochs need it.", None)

    def lower(self, name: str) -> ir.Dataset:
        """The mixture as plain values, for the manifest."""
        sources = {key: values_of(source, list) for key, source in self.sources.items()}
        filters = tuple(values_of(filter_, list) for filter_ in self.filters)
        tokens = None if self.tokens is None else self.tokens.whole
        unread = tuple(key for key, source in self.sources.items() if not source.lowered)
        return ir.Dataset(name, sources, filters, self.holdout.share, tokens, unread)
