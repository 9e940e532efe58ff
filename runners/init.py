"""Initial weights that depend on the seed and the name of a weight, and on no order, layout or number of processes.

Each weight is cut, flat in row-major order, into blocks of `BLOCK` elements; block k of weight `name` is drawn from a
counter-based generator keyed with sha256(seed/name/k). A process that holds a shard draws only the blocks it overlaps.

The generator is NumPy's Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11) with a
128-bit key. torch's CPU generator keeps only 32 bits of its seed, so that among the 2^18 blocks of a 70-billion model
several pairs would be the same numbers; and its vectorised normal() is not the same on every processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from runners.errors import RunError

BLOCK = 2**18
"""Elements a block. 1 MiB of fp32 stays in a core's cache, setting up a generator (about 20 us) costs 1% of drawing a
block, and a process draws at most two such blocks for nothing per contiguous range that it holds."""


_AT_ONCE = 16 * BLOCK
"""Elements of a rectangle that are drawn at once: the two blocks at its ends that others share are few of them."""


class Rule(Protocol):
    """How a weight starts."""

    def block(self, key: int, size: int) -> np.ndarray:
        """The first `size` values of the block with this 128-bit key, fp32 [size]."""


@dataclass(frozen=True)
class Normal:
    """Independent draws from a normal distribution with mean 0."""

    std: float

    def block(self, key: int, size: int) -> np.ndarray:
        """Draws by the ziggurat method, the same on every machine."""
        drawn = np.random.Generator(np.random.Philox(key=key)).standard_normal(size, dtype=np.float32)
        return drawn * np.float32(self.std)


@dataclass(frozen=True)
class Ones:
    """Every element 1."""

    def block(self, key: int, size: int) -> np.ndarray:  # noqa: ARG002 - nothing is drawn
        """Ones."""
        return np.ones(size, dtype=np.float32)


@dataclass(frozen=True)
class Zeros:
    """Every element 0."""

    def block(self, key: int, size: int) -> np.ndarray:  # noqa: ARG002 - nothing is drawn
        """Zeros."""
        return np.zeros(size, dtype=np.float32)


Rules = Sequence[tuple[str, Rule]]


def initialise(model: nn.Module, rules: Rules, seed: int) -> None:
    """Fill every weight by the first rule whose pattern matches its name.

    RunError for a weight without a rule, and for a rule that no weight is left for: both are mistakes in the plan.
    """
    chosen = chosen_rules(model, rules)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            values = draw(chosen[name], seed, name, 0, weight.numel(), weight.numel())
            weight.copy_(values.view(weight.shape))


def chosen_rules(model: nn.Module, rules: Rules) -> dict[str, Rule]:
    """The rule of each weight of a whole model, which can be on meta; RunError as `initialise`."""
    patterns = [pattern for pattern, _ in rules]
    chosen = {name: choose(patterns, name) for name, _ in model.named_parameters()}
    unused = [pattern for index, (pattern, _) in enumerate(rules) if index not in chosen.values()]
    if unused:
        raise RunError(f"no weight is initialised by the rule `{unused[0]}`")
    return {name: rules[index][1] for name, index in chosen.items()}


def choose(patterns: Sequence[str], name: str) -> int:
    """Index of the first pattern that matches the weight `name`."""
    for index, pattern in enumerate(patterns):
        if fnmatchcase(name, pattern):
            return index
    raise RunError(f"no rule matches the weight `{name}`")


def draw(rule: Rule, seed: int, name: str, start: int, stop: int, total: int) -> Tensor:
    """Elements start..stop of the flat weight of `total` elements, fp32 [stop - start] on the CPU."""
    return torch.from_numpy(np.concatenate(list(_pieces(rule, seed, name, start, stop, total))))


def draw_rectangle(
    target: Tensor, rule: Rule, seed: int, name: str, shape: Sequence[int], offset: Sequence[int]
) -> None:
    """Fill `target` with the rectangle that begins at `offset` of the weight of this shape.

    Whole slices along the first axis are drawn, many at once, and the rest of each is dropped: what is drawn for
    nothing is the part of those slices that other ranks have.
    """
    if not shape:
        target.copy_(draw(rule, seed, name, 0, 1, 1).view(()))
        return
    row = prod(shape[1:])
    inner = tuple(slice(first, first + size) for first, size in zip(offset[1:], target.shape[1:], strict=True))
    rows = max(1, _AT_ONCE // max(row, 1))
    for start in range(0, len(target), rows):
        stop = min(start + rows, len(target))
        first, end = (offset[0] + start) * row, (offset[0] + stop) * row
        values = draw(rule, seed, name, first, end, prod(shape)).view(stop - start, *shape[1:])
        target[start:stop].copy_(values[(slice(None), *inner)])


def _pieces(rule: Rule, seed: int, name: str, start: int, stop: int, total: int) -> Iterator[np.ndarray]:
    yield np.empty(0, dtype=np.float32)
    for index in range(start // BLOCK, -(-stop // BLOCK)):
        first = index * BLOCK
        key = int.from_bytes(sha256(f"{seed}/{name}/{index}".encode()).digest()[:16], "little")
        # Always the whole block, also for a shard: no draw may depend on where the shard begins or ends.
        block = rule.block(key, min(BLOCK, total - first))
        yield block[max(start - first, 0) : stop - first]
