"""One page per code: what it means, a spec that has the mistake, what specc says, and the spec without it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent


@cache
def codes() -> tuple[str, ...]:
    """Every code that has a page."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("SPC*.md")))


def page(code: str) -> str | None:
    """The Markdown of a code's page, or None."""
    return (_FOLDER / f"{code}.md").read_text(encoding="utf-8") if code in codes() else None


def title(code: str) -> str:
    """The page's heading without the code."""
    text = page(code) or ""
    return text.partition("\n")[0].removeprefix(f"# {code}").strip(" :")


def severity(code: str) -> str | None:
    """How loud a code is where its page shows it: `error`, `warning` or `note`; None where it has no page."""
    found = re.search(rf"(error|warning|note)\[{code}\]", page(code) or "")
    return None if found is None else found[1]
