"""How a stage is spread over processes: what a generated program states, and every engine applies from outside."""

from __future__ import annotations

import math
from dataclasses import dataclass

AXES = ("pipeline", "replicate", "shard", "context", "tensor")
"""Axes of the mesh, outermost first: ranks that are neighbours on a later axis are closer to each other."""


@dataclass(frozen=True)
class Layout:
    """Sizes of the axes, and which part of what lies where. Nothing is left to decide."""

    pipeline: int = 1
    replicate: int = 1
    """Groups of `shard` ranks that hold the same; each trains on other sequences."""
    shard: int = 1
    """Ranks that train on different sequences and divide among them what `zero_stage` says."""
    context: int = 1
    """Ranks that every sequence is divided among."""
    tensor: int = 1
    """Ranks that every divided weight is divided among."""
    expert: int = 1
    """Ranks that experts are divided among, taken out of `shard` x `context`."""
    zero_stage: int = 0
    """0: whole copies; 1: optimizer states divided, 2: gradients too, 3: weights too (Rajbhandari et al. 2020,
    arXiv:1910.02054)."""
    sequence_parallel: bool = False
    """Whether norms and residuals are divided over the tensor ranks along the sequence."""
    splits: tuple[tuple[str, int], ...] = ()
    """Patterns over names of weights, and the axis that tensor ranks divide: 0 column-wise, 1 row-wise. First match
    wins; a weight that none matches is whole on every rank."""
    by_head: tuple[str, ...] = ()
    """Functions of `model.py` that give one value a head along their first axis: a rank takes those of its heads."""
    stages: tuple[tuple[int, int], ...] = ()
    """Layers [first, end) of each piece of the pipeline, in order; piece i belongs to rank i modulo `pipeline`."""
    schedule: str = "1f1b"
    """gpipe, 1f1b or interleaved_1f1b."""
    context_kind: str = "ulysses"
    """How attention sees a whole sequence that context ranks divide: `ulysses`, each with some of the heads, or
    `ring`, where keys and values go round."""

    @property
    def is_ring(self) -> bool:
        """Whether keys and values go round among context ranks."""
        return self.context > 1 and self.context_kind == "ring"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the axes, in the order of `AXES`."""
        return (self.pipeline, self.replicate, self.shard, self.context, self.tensor)

    @property
    def processes(self) -> int:
        """Ranks in all."""
        return math.prod(self.sizes)

    def place(self, rank: int) -> dict[str, int]:
        """Where a rank stands on each axis."""
        found = {}
        for axis, size in zip(reversed(AXES), reversed(self.sizes), strict=True):
            rank, found[axis] = divmod(rank, size)
        return found
