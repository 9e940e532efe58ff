"""How far a schedule falls."""

from __future__ import annotations

from fractions import Fraction


def fall(peak: float, min_ratio: float) -> dict[str, float]:
    """`floor`, and `drop` from the peak down to it: the decimals that a person would write, not binary remainders."""
    high, share = Fraction(str(peak)), Fraction(str(min_ratio))
    return {"floor": float(high * share), "drop": float(high * (1 - share))}
