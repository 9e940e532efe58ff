"""How many spans are hidden, and how long what is left and what is asked for are: the sums of T5."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Whole numbers of one sequence."""

    tokens: int
    """Of the data set."""
    noise_tokens: int
    spans: int

    @property
    def shown(self) -> int:
        """Tokens that are left, a sentinel for each span counted."""
        return self.tokens - self.noise_tokens + self.spans

    @property
    def asked(self) -> int:
        """Hidden tokens, each span after its sentinel."""
        return self.noise_tokens + self.spans


def sizes(tokens: int, rate: float, mean_span: float) -> Sizes:
    """Sizes of at least two tokens: at least one is hidden and one is left (Raffel et al. 2020, T5, section 3.1.4)."""
    noise = min(max(round(tokens * rate), 1), tokens - 1)
    spans = min(max(round(noise / mean_span), 1), noise, tokens - noise)
    return Sizes(tokens, noise, spans)


def fill_inputs(places: int, rate: float, mean_span: float) -> Sizes:
    """The most tokens whose inputs, each span one place, fit into so many places."""
    return _most(places, places, rate, mean_span, targets=False)


def fill_sequence(places: int, rate: float, mean_span: float) -> Sizes:
    """The most tokens whose inputs and targets together fit into so many places."""
    return _most(places, places, rate, mean_span, targets=True)


def _most(places: int, start: int, rate: float, mean_span: float, *, targets: bool) -> Sizes:
    """Found from both sides: more tokens never take fewer places by more than one span."""

    def taken(tokens: int) -> int:
        made = sizes(tokens, rate, mean_span)
        return made.shown + (made.asked if targets else 0)

    tokens = max(start, 2)
    while tokens > 2 and taken(tokens) > places:
        tokens -= 1
    while taken(tokens + 1) <= places:
        tokens += 1
    return sizes(tokens, rate, mean_span)
