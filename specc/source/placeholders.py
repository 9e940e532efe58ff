"""`${env:NAME}` and `${python:stdlib}`: what a path may leave to the machine that reads it."""

from __future__ import annotations

import re

HOLDER = re.compile(r"\$\{([^}]*)(\}?)")
_ENV = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_STDLIB = "python:stdlib"
KNOWN = "`${env:NAME}` and `${python:stdlib}`"


def malformed(text: str) -> str | None:
    """What is wrong with the first placeholder of a text that is none, as a headline; None where all are right."""
    for match in HOLDER.finditer(text):
        if not match[2]:
            return f"`{match[0][:40]}` is not closed with `}}`"
        if match[1] in ("env:", "env"):
            return f"`{match[0]}` names no environment variable"
        if match[1].startswith("env:") and not _ENV.fullmatch(match[1]):
            return f"`{match[1][4:]}` is no name of an environment variable"
        if match[1] != _STDLIB and not _ENV.fullmatch(match[1]):
            return f"`{match[0]}` stands for nothing that specc knows"
    return None


def variables(text: str) -> tuple[str, ...]:
    """Names of the environment variables in a text without malformed placeholders."""
    return tuple(match[1] for match in map(_ENV.fullmatch, (m[1] for m in HOLDER.finditer(text))) if match)


def filled(text: str, values: dict[str, str]) -> str:
    """The text with the values of its variables."""
    for name, value in values.items():
        text = text.replace(f"${{env:{name}}}", value)
    return text
