"""Near names: what a misspelt word was meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None when none is near."""
    known = list(choices)
    if word.lower() in known:
        return word.lower()
    for end in ("_", ""):
        longer = [choice for choice in known if len(word) > 2 and choice.startswith(f"{word.lower()}{end}")]
        if longer:
            return min(longer, key=len)
    found = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return found[0] if found else None


def slip(word: str, choices: Iterable[str]) -> str | None:
    """The choice from which `word` differs by a slip of the keyboard, such as a letter left out."""
    found = get_close_matches(word.lower(), list(choices), n=1, cutoff=0.85)
    return found[0] if found else None
