"""Tokens that were hidden."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.ir.component import Component
from specc.kinds.objective.base import ObjectiveNode
from specc.kinds.objective.place import ENCODER, Needs, Place
from specc.spec.base import identity, values_of


class Masked(ObjectiveNode):
    """Some tokens are recovered from all others; most of them are masked, some replaced, some kept (Devlin et al. 2019,
    BERT, arXiv:1810.04805, section 3.1). ModernBERT masks more and keeps none: `{rate: 0.3, mask_share: 1.0,
    random_share: 0.0}` (Warner et al. 2024, arXiv:2412.13663, section 2.2.1).
    """

    models: ClassVar[tuple[str, ...]] = (ENCODER,)

    kind: Literal["masked"] = identity("The choice.")
    rate: float = identity("Share of the tokens that are recovered.", 0.15, gt=0.0, lt=1.0)
    mask_share: float = identity("Of these, the share that is masked.", 0.8, gt=0.0, le=1.0)
    random_share: float = identity(
        "Of these, the share that is replaced by a random token; what both leave is kept as it is.", 0.1, ge=0.0, le=1.0
    )

    def check(self, at: Path, place: Place) -> Iterator[Finding]:
        """Shares of more than all, and a rate that hides nothing."""
        together = self.mask_share + self.random_share
        if together > 1.0 + 1e-9:
            headline = f"{self.mask_share:g} masked and {self.random_share:g} replaced are {together:g} of the hidden"
            places = (At((*at, "mask_share")), At((*at, "random_share")))
            yield Finding("SPC523", headline, places, help=f"use `random_share: {1 - self.mask_share:g}` or less")
        if round(self.rate * place.context_length) < 1:
            headline = f"a rate of {self.rate:g} hides no token of a context of {place.context_length:,}"
            places = (At((*at, "rate")), At(("model", "context_length")))
            yield Finding("SPC522", headline, places, help=f"use {1 / place.context_length:.3g} or more")

    def needs(self, place: Place) -> Needs:
        """A mask."""
        del place
        return Needs(mask=True)

    def lower(self, place: Place, tokenizer: ir.Tokenizer) -> Component:
        """Rates as they are; ids of the tokenizer."""
        del place
        values = {
            "rate": self.rate,
            "mask_share": self.mask_share,
            "random_share": self.random_share,
            "mask_token": tokenizer.special.mask,
            "text_ids": tokenizer.text_ids,
        }
        return Component("objective/masked", "train/objective/masked.py.j2", values, fields=values_of(self))
