"""Where the text files that belong to specc lie: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


@cache
def templates() -> Path:
    """The folder of templates."""
    return _folder("templates")


@cache
def specs() -> Path:
    """The folder of examples, presets and clusters that `extends:` also looks in."""
    return _folder("specs")


def _folder(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name
