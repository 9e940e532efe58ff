"""What every length of a curriculum must be."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.quantities import Quantity

MULTIPLE = 8
"""Lengths are multiples of this: matrix units want it (Li et al. 2022, arXiv:2108.06084, section 4)."""


def check_length(length: Quantity, at: Path, context_length: int) -> Iterator[Finding]:
    """A length that is not shorter than the sequences, or that is rounded away."""
    places = (At(at), At(("model", "context_length")))
    if length.whole >= context_length:
        headline = f"short sequences of {length.whole:,} tokens are not shorter than the context of {context_length:,}"
        below = (context_length // 4) // MULTIPLE * MULTIPLE
        yield Finding("SPC223", headline, places, help=f"use `{below} tokens`" if below else None)
    elif length.whole % MULTIPLE:
        near = max(length.whole // MULTIPLE * MULTIPLE, MULTIPLE)
        headline = f"a length of {length.whole:,} tokens is no multiple of {MULTIPLE}"
        note = "matrix units are made for such sizes (Li et al. 2022, arXiv:2108.06084)"
        yield Finding("SPC224", headline, places[:1], (note,), help=f"use `{near} tokens`")
