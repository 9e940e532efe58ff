"""A mixture of denoisers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.ir.component import Component
from specc.kinds.objective.base import ObjectiveNode
from specc.kinds.objective.denoiser import Denoiser, PrefixDenoiser, SpanDenoiser
from specc.kinds.objective.place import DECODER, ENCODER_DECODER, Needs, Place
from specc.spec.base import identity, section, values_of


def _table_1() -> tuple[Denoiser, ...]:
    """Tay et al. 2022, table 1, equally often. Made when asked for: pydantic builds a class at its first instance."""
    return (
        SpanDenoiser(rate=0.15, mean_span=3.0, mode="R"),
        SpanDenoiser(rate=0.15, mean_span=8.0, mode="R"),
        PrefixDenoiser(rate=0.25, mode="S"),
        SpanDenoiser(rate=0.5, mean_span=3.0, mode="X"),
        SpanDenoiser(rate=0.5, mean_span=8.0, mode="X"),
        SpanDenoiser(rate=0.15, mean_span=64.0, mode="X"),
        SpanDenoiser(rate=0.5, mean_span=64.0, mode="X"),
    )


class Ul2(ObjectiveNode):
    """Each sequence by one of several denoisers, which a token before the inputs names (Tay et al. 2022, UL2,
    arXiv:2205.05131, section 3.1). On a decoder, inputs that see all of themselves and targets share a sequence.
    """

    models: ClassVar[tuple[str, ...]] = (ENCODER_DECODER, DECODER)

    kind: Literal["ul2"] = identity("The choice.")
    denoisers: tuple[Denoiser, ...] = section(
        "The denoisers; left out, the seven of the paper.", default_factory=_table_1, min_length=1
    )

    def check(self, at: Path, place: Place) -> Iterator[Finding]:
        """What each denoiser checks, and a mixture in which no span is hidden."""
        if not any(isinstance(each, SpanDenoiser) for each in self.denoisers):
            headline = f"0 of {len(self.denoisers)} denoisers hide a span"
            yield Finding("SPC526", headline, (At((*at, "denoisers")),), help="use `objective: {kind: prefix}`")
        for index, denoiser in enumerate(self.denoisers):
            yield from denoiser.check((*at, "denoisers", index), place)

    def needs(self, place: Place) -> Needs:
        """Sentinels for the denoiser with the most spans, and a token a mode."""
        spans = [each.sizes(place).spans for each in self.denoisers if isinstance(each, SpanDenoiser)]
        modes = tuple(dict.fromkeys(each.mode for each in self.denoisers if each.mode is not None))
        return Needs(sentinels=max(spans, default=0), modes=modes)

    def sees_prefix(self, place: Place) -> bool:
        """On a decoder, whose inputs are the prefix."""
        return place.model == DECODER

    def lower(self, place: Place, tokenizer: ir.Tokenizer) -> Component:
        """A line a denoiser, and ids of the tokenizer."""
        special = tokenizer.special
        lines = [
            {
                "template": f"train/objective/{_TEMPLATES[each.kind]}.py.j2",
                "weight": each.weight,
                "mode": None if each.mode is None else special.modes[each.mode],
                **each.values(place),
            }
            for each in self.denoisers
        ]
        values = {
            "denoisers": lines,
            "length": place.context_length,
            "target_length": max(each.targets(place) for each in self.denoisers) + 1,
            "first_sentinel": special.first_sentinel,
            "sentinel_step": special.sentinel_step,
            "end": tokenizer.end_of_document,
        }
        name = "ul2_decoder" if place.model == DECODER else "ul2"
        return Component("objective/ul2", f"train/objective/{name}.py.j2", values, fields=values_of(self))


_TEMPLATES = {"span_corruption": "span_denoiser", "prefix": "prefix_denoiser"}
