"""Names that a stage refers to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from specc.diagnostics.diagnostic import Path

LANGUAGE_MODEL, REWARD_MODEL = "language model", "reward model"
Sought = Literal["stage", "model", "reward", "suite", "data"]
"""`stage`: a language model of another stage. `model`: that, or one of `models`. `reward`: a reward model of either."""
MODELS = ("stage", "model", "reward")


@dataclass(frozen=True)
class Mention:
    """One name and what it must be the name of."""

    path: Path
    """Where it is written, below the stage."""
    name: str
    sought: Sought
