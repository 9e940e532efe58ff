"""Where an objective is lowered, and what it asks of what is around it."""

from __future__ import annotations

from dataclasses import dataclass

from specc import ir

DECODER, ENCODER, ENCODER_DECODER = "decoder", "encoder", "encoder_decoder"


@dataclass(frozen=True)
class Place:
    """The model that an objective trains."""

    model: str
    """Its kind."""
    context_length: int
    depth: int = 1
    """Next tokens that it predicts at once."""


@dataclass(frozen=True)
class Needs:
    """Special tokens that objectives ask a tokenizer for."""

    mask: bool = False
    sentinels: int = 0
    modes: tuple[str, ...] = ()

    def __or__(self, other: Needs) -> Needs:
        """What serves both."""
        modes = tuple(dict.fromkeys((*self.modes, *other.modes)))
        return Needs(self.mask or other.mask, max(self.sentinels, other.sentinels), modes)

    @property
    def count(self) -> int:
        """Number of tokens."""
        return self.mask + self.sentinels + len(self.modes)


NOTHING = Needs()


def special_from(first: int, needs: Needs) -> ir.SpecialTokens:
    """Ids in a row from `first` on: the mask, the sentinels, the modes."""
    sentinels = first + needs.mask
    modes = {mode: sentinels + needs.sentinels + index for index, mode in enumerate(needs.modes)}
    return ir.SpecialTokens(
        first if needs.mask else None, sentinels if needs.sentinels else None, 1, needs.sentinels, modes
    )
