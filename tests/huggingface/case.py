"""What a small config of a family is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A config as keywords of its class in transformers."""

    model_type: str
    shows: str
    keywords: dict[str, Any]
    architecture: str | None = None
    """The class of transformers; None is the family's usual one."""

    @property
    def name(self) -> str:
        return f"{self.model_type}-{self.shows}"
