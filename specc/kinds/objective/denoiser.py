"""The denoisers of a mixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.kinds.objective.place import DECODER, Place
from specc.kinds.objective.spans import Sizes, fill_inputs, fill_sequence
from specc.spec.base import Identifier, Node, identity


class SpanDenoiser(Node):
    """Hidden spans: R where they are few and short, X where they are many or long."""

    kind: Literal["span_corruption"] = identity("The choice.")
    rate: float = identity("Share of the tokens that are hidden.", gt=0.0, lt=1.0)
    mean_span: float = identity("Mean length of a hidden span, tokens.", ge=1.0)
    weight: float = identity("How often it is drawn, relative to the others.", 1.0, gt=0.0)
    mode: Identifier | None = identity("Name of the token before the inputs; `null` is none.", None)

    def check(self, at: Path, place: Place) -> Iterator[Finding]:
        """A rate that hides nothing, and spans longer than all that is hidden."""
        yield from check_spans(at, self.rate, self.mean_span, self.sizes(place))

    def sizes(self, place: Place) -> Sizes:
        """The most tokens that fit: into the encoder, with an end; or inputs and targets into a decoder."""
        mode = self.mode is not None
        if place.model == DECODER:
            return fill_sequence(place.context_length + 1 - mode, self.rate, self.mean_span)
        return fill_inputs(place.context_length - 1 - mode, self.rate, self.mean_span)

    def targets(self, place: Place) -> int:
        """Tokens that are asked for, the end not counted."""
        return self.sizes(place).asked

    def values(self, place: Place) -> dict[str, Any]:
        """What its line says."""
        made = self.sizes(place)
        return {"tokens": made.tokens, "noise_tokens": made.noise_tokens, "spans": made.spans}


class PrefixDenoiser(Node):
    """The end of a text after its beginning: S."""

    kind: Literal["prefix"] = identity("The choice.")
    rate: float = identity("Mean share of the tokens that are asked for, each number up to twice it.", gt=0.0, le=0.5)
    weight: float = identity("How often it is drawn, relative to the others.", 1.0, gt=0.0)
    mode: Identifier | None = identity("Name of the token before the inputs; `null` is none.", None)

    def check(self, at: Path, place: Place) -> Iterator[Finding]:
        """A rate that asks for nothing."""
        if int(2 * self.rate * place.context_length) < 1:
            headline = f"a rate of {self.rate:g} hides no token of a context of {place.context_length:,}"
            yield Finding("SPC522", headline, (At((*at, "rate")), At(("model", "context_length"))))

    def tokens(self, place: Place) -> int:
        """Of the data set: all that a decoder reads; for an encoder one less, as at least one is asked for."""
        mode = self.mode is not None
        return max(2, place.context_length + (1 if place.model == DECODER else 0) - mode)

    def targets(self, place: Place) -> int:
        """The most tokens that are asked for, the end not counted."""
        tokens = self.tokens(place)
        return min(max(1, round(2 * self.rate * tokens) - 1), tokens - 1)

    def values(self, place: Place) -> dict[str, Any]:
        """What its line says."""
        return {"tokens": self.tokens(place), "max_targets": self.targets(place)}


Denoiser = Annotated[SpanDenoiser | PrefixDenoiser, Discriminator("kind")]


def check_spans(at: Path, rate: float, mean_span: float, made: Sizes) -> Iterator[Finding]:
    """Spans that the tokens of a sequence do not allow: `made` is what would become of them."""
    wanted = round(rate * made.tokens)
    if not 1 <= wanted < made.tokens:
        hidden = "no token" if wanted < 1 else "every token"
        headline = f"a rate of {rate:g} hides {hidden} of a sequence of {made.tokens:,}"
        yield Finding("SPC522", headline, (At((*at, "rate")), At(("model", "context_length"))))
    elif mean_span > made.noise_tokens:
        headline = f"spans of {mean_span:g} tokens are longer than the {made.noise_tokens:,} that are hidden"
        places = (At((*at, "mean_span")), At((*at, "rate")))
        note = f"one span of {made.noise_tokens:,} tokens is hidden"
        help_text = f"use `mean_span: {made.noise_tokens}` or less"
        yield Finding("SPC527", headline, places, (note,), help_text, severity="warning")
    elif made.spans < round(made.noise_tokens / mean_span):
        left = made.tokens - made.noise_tokens
        spans = round(made.noise_tokens / mean_span)
        headline = f"{spans:,} spans need as many tokens between them, and a rate of {rate:g} leaves {left:,}"
        yield Finding("SPC522", headline, (At((*at, "rate")), At((*at, "mean_span"))), help="use a longer `mean_span`")
