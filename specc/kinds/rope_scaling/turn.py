"""What a scaling may know of the rotation that it changes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """The unscaled rotation, and the contexts before and after."""

    theta: float
    values: int
    """Values of a head that are turned: two a pair."""
    original: int
    """Positions of the context that the base was set for."""
    context: int
    """Positions of the context of this model."""
