"""Near names: what a misspelt word was meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_LETTERS_PER_SLIP = 6
"""One slip in a short word, two in a word of twelve letters."""
_LEAST_LETTERS = 4
_LONGEST_NAME = 200
"""A longer text was meant to be no name."""


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None when none is near."""
    known = list(choices)
    if len(word) > _LONGEST_NAME:
        return None
    if word.lower() in known:
        return word.lower()
    # `h100` is `h100_sxm` cut short, and not `h200` with a digit wrong.
    return _longer(word, "_", known) or slip(word, known) or _longer(word, "", known) or _alike(word, known)


def slip(word: str, choices: Iterable[str]) -> str | None:
    """The choice from which `word` differs by slips of the keyboard: a letter left out, doubled, wrong, exchanged."""
    return min(_slips(word, choices), default=(0, None), key=lambda pair: pair[0])[1]


def is_surely(word: str, meant: str, choices: Iterable[str]) -> bool:
    """Whether `word` can only have been meant to be that choice: digits, or a letter in a short word, make another."""
    if re.sub(r"\D", "", word) != re.sub(r"\D", "", meant):
        return False
    return len(meant) >= _LEAST_LETTERS and [choice for _, choice in _slips(word, choices)] == [meant]


def distance(a: str, b: str) -> int:
    """Insertions, deletions, replacements and exchanges of neighbours between two words (Damerau 1964)."""
    if abs(len(a) - len(b)) > max(1, max(len(a), len(b)) // _LETTERS_PER_SLIP):
        # Too far for any caller: longer words are not worth the table.
        return max(len(a), len(b))
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before = above
    return row[-1]


def _slips(word: str, choices: Iterable[str]) -> list[tuple[int, str]]:
    """Choices within the slips that a word of their length may have, each with its distance."""
    lowered = word.lower() if len(word) <= _LONGEST_NAME else ""
    near = [(distance(lowered, choice.lower()), choice) for choice in choices if lowered]
    return [(far, choice) for far, choice in near if far <= max(1, len(choice) // _LETTERS_PER_SLIP)]


def _longer(word: str, end: str, choices: list[str]) -> str | None:
    start = f"{word.lower()}{end}"
    longer = [choice for choice in choices if len(word) > 2 and choice.startswith(start)]
    return min(longer, key=len, default=None)


def _alike(word: str, choices: list[str]) -> str | None:
    found = get_close_matches(word.lower(), choices, n=1, cutoff=0.6)
    return found[0] if found else None
