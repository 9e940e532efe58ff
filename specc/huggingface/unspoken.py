"""What cannot be read from a config, or said in one."""

from __future__ import annotations

import json
from typing import Any

from specc.diagnostics import At, Finding

_LONGEST_VALUE = 60


class Unspoken(Exception):
    """A key of a config with a value that our language cannot say: nothing of a config is dropped silently.

    `path` is where it stands in `config.json`, `reason` says why or what could be read, `near` is the name that was
    probably meant.
    """

    code = "SPC902"

    def __init__(self, path: tuple[str | int, ...], value: Any, reason: str, near: str | None = None) -> None:
        super().__init__(path, value, reason, near)
        self.path, self.value, self.reason, self.near = path, value, reason, near

    @property
    def key(self) -> str:
        """The path as one word, such as `rope_parameters.rope_type`."""
        return ".".join(str(part) for part in self.path)

    def __str__(self) -> str:
        return f"{self.headline()}: {self.reason}"

    def headline(self) -> str:
        """The fact in one line."""
        shown = f'"{cut(self.value)}"' if isinstance(self.value, str) else cut(self.value)
        return f"`{self.key}: {shown}` of this config cannot be read"

    def finding(self) -> Finding:
        """What a command shows; its path is one of `config.json`."""
        meant = None if self.near is None else f"did you mean `{self.near}`?"
        return Finding(self.code, self.headline(), (At(self.path),), (self.reason,), meant)


class UnknownFamily(Unspoken):
    """A `model_type` that nobody has written a reader for."""

    code = "SPC903"

    def headline(self) -> str:
        """The fact in one line."""
        return f"no family of models `{cut(self.value)}`" if self.value else "this config names no family of models"


def cut(value: Any) -> str:
    """A value as text that fits on a line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


class Unwritable(Exception):
    """A model that a native class of transformers cannot say; the message names the key and both values."""
