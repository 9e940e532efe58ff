"""The rest of a text after a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.ir.component import Component
from specc.kinds.objective.base import ObjectiveNode
from specc.kinds.objective.place import DECODER, Place
from specc.spec.base import identity, values_of


class Prefix(ObjectiveNode):
    """A prefix of random length attends to all of itself, and the loss counts what follows it (Raffel et al. 2020, T5,
    arXiv:1910.10683, section 3.2.1).
    """

    models: ClassVar[tuple[str, ...]] = (DECODER,)

    kind: Literal["prefix"] = identity("The choice.")
    min_share: float = identity("Shortest prefix as a share of the context.", 0.0, ge=0.0, le=1.0)
    max_share: float = identity(
        "Longest prefix as a share of the context; every length between both is as likely.", 1.0, ge=0.0, le=1.0
    )

    def check(self, at: Path, place: Place) -> Iterator[Finding]:
        """A shortest prefix that is longer than the longest."""
        del place
        if self.min_share > self.max_share:
            headline = f"the shortest prefix is {self.min_share:g} of the context, and the longest {self.max_share:g}"
            places = (At((*at, "min_share")), At((*at, "max_share")))
            yield Finding(
                "SPC523",
                headline,
                places,
                help=f"use `min_share: {self.max_share:g}` and `max_share: {self.min_share:g}`",
            )

    def sees_prefix(self, place: Place) -> bool:
        """Always."""
        del place
        return True

    def lower(self, place: Place, tokenizer: ir.Tokenizer) -> Component:
        """Lengths in tokens."""
        del tokenizer
        shortest, longest = (int(share * place.context_length) for share in (self.min_share, self.max_share))
        values = {"min_length": shortest, "max_length": longest}
        return Component("objective/prefix", "train/objective/prefix.py.j2", values, fields=values_of(self))
