"""Few patterns over the names of weights that stand for a value of each: `*.o_proj.weight` for those of all blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def patterns(values: Mapping[str, T]) -> tuple[tuple[str, T], ...]:
    """Few patterns over names that give every name its value: exceptions first, `*` with the most common one last."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return (*exceptions(values, usual), ("*", usual))


def exceptions(values: Mapping[str, T], usual: T) -> tuple[tuple[str, T], ...]:
    """Few patterns that match every name whose value is not the usual one, and give it; they match no other name."""
    alike = alike_ends(values)
    return tuple({pattern(name, alike): value for name, value in values.items() if value != usual}.items())


def alike_ends(values: Mapping[str, T]) -> dict[str, set[T]]:
    """By the ends of names, the values that names with this end have."""
    alike: dict[str, set[T]] = {}
    for name, value in values.items():
        for suffix in _suffixes(name):
            alike.setdefault(suffix, set()).add(value)
    return alike


def pattern(name: str, alike: Mapping[str, set[T]]) -> str:
    """The most general suffix of a name that only names with the same value have."""
    return next((f"*{suffix}" for suffix in _suffixes(name) if len(alike[suffix]) == 1), name)


def _suffixes(name: str) -> Iterator[str]:
    """Of `layers.0.norm.weight`: `.weight`, `.norm.weight`, `.0.norm.weight`."""
    parts = name.split(".")
    return ("." + ".".join(parts[start:]) for start in range(len(parts) - 1, 0, -1))
