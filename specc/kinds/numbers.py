"""The legal numbers next to one that is not: what `help` offers."""

from __future__ import annotations


def nearest_divisors(number: int, wanted: int) -> tuple[int, ...]:
    """The closest divisor below and above."""
    below = max((d for d in range(1, min(wanted, number) + 1) if number % d == 0), default=None)
    above = next((d for d in range(wanted, number + 1) if number % d == 0), None)
    return tuple(sorted({d for d in (below, above) if d is not None}))


def nearest_multiples(number: int, unit: int) -> tuple[int, ...]:
    """The closest multiple below, where there is one above 0, and above."""
    below = number // unit * unit
    return tuple(sorted({below or unit, -(-number // unit) * unit}))


def either(values: tuple[int, ...]) -> str:
    """`4 or 8`."""
    return " or ".join(f"{value:,}" for value in values)
