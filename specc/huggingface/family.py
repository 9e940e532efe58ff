"""What is known of one family of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from specc.huggingface.tensors import Move

Config = Mapping[str, Any]
"""A completed config: every key of the config class, `rope_parameters` in the one form of `rope.py`, and under
`architectures` the name of the class that the checkpoint is of, alone in a list."""
Section = dict[str, Any]
"""Part of a spec in plain values."""


@dataclass(frozen=True)
class Only:
    """The values of a key that change nothing we could not say, and why others do."""

    values: tuple[Any, ...]
    reason: str


@dataclass(frozen=True)
class Rope:
    """Where a config class keeps its rotary angles in the form that transformers 4 wrote, and what it defaults to."""

    theta: float = 10_000.0
    partial: float | None = None
    """Default share of a head that is turned; None where the class knows no such key."""
    theta_key: str = "rope_theta"
    partial_key: str = "partial_rotary_factor"
    local_theta: float | None = None
    """Default base of layers with a window, in families that give them one of their own."""
    local_theta_key: str = "rope_local_base_freq"
    angles: Mapping[str, Any] = field(default_factory=dict)
    """What the class fills in where a config says nothing of its angles (gpt-oss)."""

    @property
    def old_keys(self) -> frozenset[str]:
        """Keys of the form that transformers 4 wrote."""
        partial = {self.partial_key} if self.partial is not None else set()
        local = {self.local_theta_key} if self.local_theta is not None else set()
        return frozenset({"rope_scaling", self.theta_key, *partial, *local})


@dataclass(frozen=True)
class Family:
    """Configs of one `model_type`: what they say in our language, and which tensor is which.

    `read` and `moves` take a completed config and raise `Unspoken` for what we cannot say. `write` takes our model
    section with every default explicit, and need not check that the class can say all of it: the config is read back
    and compared (`writing.py`).
    """

    model_type: str
    architectures: tuple[str, ...]
    """Classes of transformers whose checkpoints can be read, the usual one first."""
    defaults: Mapping[str, Any]
    """Every key of the config class itself with its default; None where the class computes it."""
    read: Callable[[Config], Section]
    moves: Callable[[Config], tuple[Move, ...]]
    write: Callable[[Mapping[str, Any]], dict[str, Any]]
    rope: Rope | None = None
    only: Mapping[str, Only] = field(default_factory=dict)
    """Keys that one value is read of only."""
    neutral: frozenset[str] = frozenset()
    """Keys beyond `reading.NEUTRAL` that change no computation; each is kept for export."""
    nullable: frozenset[str] = frozenset()
    """Keys that may be null though their default is not."""
    old_names: Mapping[str, str] = field(default_factory=dict)
    """Spellings that older configs use, each with the key that it became."""
    old_keys: Mapping[str, type] = field(default_factory=dict)
    """Keys beyond the defaults that older configs hold and `read` looks at."""
    ignored: tuple[str, ...] = ()
    """Names on disk (regular expressions over the whole name) that hold no weight: buffers.

    A tied copy needs no entry: what holds the bits of another tensor is left aside, and what does not is an error."""
    unread: Callable[[Config], Mapping[str, str]] | None = None
    """Names on disk (as in `ignored`) of weights that the class does not read, each with what a user is told."""
