"""A batch as a model takes it: inputs, targets, and how many of the targets count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runners.objective.draws import Draws

if TYPE_CHECKING:
    from runners.objective.token_loss import TokenLoss

IGNORE = -100
"""A target that does not count: what PyTorch's cross-entropy ignores unless it is told otherwise."""


@dataclass(frozen=True)
class Examples:
    """Rows of a batch."""

    ids: Tensor
    """int64 [B, T]: the first argument of `Model.forward`."""
    targets: Tensor
    """int64 [B, ...], IGNORE where nothing is to be predicted."""
    count: int
    """Targets that the loss is divided by."""
    more: Mapping[str, Tensor] = field(default_factory=dict)
    """What else `Model.forward` takes, [B, ...] each, by the name of its argument."""
    rows_per_sequence: int = 1
    """Above 1 where a curriculum cuts each sequence into that many rows, one below the other."""
    bytes: int | None = None
    """Of the text of the targets, where the vocabulary grows and a loss per token can be compared with none."""

    def split(self, size: int) -> Iterator[Examples]:
        """Micro-batches of up to `size` sequences. `count` stays that of the whole."""
        size *= self.rows_per_sequence
        for start in range(0, len(self.ids), size):
            rows = slice(start, start + size)
            more = {name: value[rows] for name, value in self.more.items()}
            yield replace(self, ids=self.ids[rows], targets=self.targets[rows], more=more)

    def part(self, index: int, of: int) -> Examples:
        """The rows that one of several processes reads, as many for each of them. `count` stays that of the whole.

        Where rows are left over, others are repeated with nothing to predict: processes that compute together need the
        same number of micro-batches.
        """
        missing = -len(self.ids) % of
        if not missing:
            share = len(self.ids) // of
            rows = torch.arange(index * share, (index + 1) * share)
            more = {name: value[rows] for name, value in self.more.items()}
            return replace(self, ids=self.ids[rows], targets=self.targets[rows], more=more)
        repeated = torch.cat((torch.arange(len(self.ids)), torch.zeros(missing, dtype=torch.int64)))
        targets = torch.cat((self.targets, torch.full_like(self.targets[repeated[len(self.ids) :]], IGNORE)))
        more = {name: value[repeated] for name, value in self.more.items()}
        return replace(self, ids=self.ids[repeated], targets=targets, more=more).part(index, of)

    def to(self, device: torch.device) -> Examples:
        """The same on a device."""
        beside = device.type == "cuda"  # the copy of pinned memory runs beside the kernels before it
        more = {name: value.to(device, non_blocking=beside) for name, value in self.more.items()}
        ids, targets = (value.to(device, non_blocking=beside) for value in (self.ids, self.targets))
        return replace(self, ids=ids, targets=targets, more=more)

    def pinned(self) -> Examples:
        """The same in memory that a GPU reads by itself."""
        more = {name: value.pin_memory() for name, value in self.more.items()}
        return replace(self, ids=self.ids.pin_memory(), targets=self.targets.pin_memory(), more=more)


class Objective(Protocol):
    """What is predicted from what. Examples are a pure function of the tokens and the draws of their row."""

    writes_after: ClassVar[str | None]
    """How a model is asked to write on: `causal`, `prefix` (it sees its prompt as a whole), None where it cannot."""

    def window(self, context_length: int) -> int:
        """Tokens of the data set behind one sequence, the one after it not counted."""

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """Inputs and targets of int64 [B, window + 1]; one `Draws` a row."""

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss) -> Tensor:
        """Sum of the loss over the targets, nats: that of training while the model trains."""


def training_examples(
    objective: Objective, rows: Tensor, seed: int, first: int, rows_per_sequence: int = 1
) -> Examples:
    """Examples of the rows whose first is sequence number `first` of the stage, counted from 0."""
    found = objective.examples(rows, [Draws(seed, "objective", first + index) for index in range(len(rows))])
    return found if rows_per_sequence == 1 else replace(found, rows_per_sequence=rows_per_sequence)


def validation_examples(objective: Objective, rows: Tensor, seed: int) -> Examples:
    """Examples of held-out rows: the same corruption at every measurement."""
    return objective.examples(rows, [Draws(seed, "validation", index) for index in range(len(rows))])


def next_token(rows: Tensor) -> Examples:
    """Each token of int64 [B, T + 1] from those before it, but for those that are not asked for."""
    targets = asked(rows)[:, 1:]
    return Examples(read(rows)[:, :-1], targets, counted(targets))


def read(rows: Tensor) -> Tensor:
    """Ids of rows, in which a number below zero is `~id`: a token that is read and not asked for."""
    return torch.where(rows < 0, ~rows, rows)


def asked(rows: Tensor) -> Tensor:
    """Targets of rows, IGNORE where nothing is asked for."""
    return rows.masked_fill(rows < 0, IGNORE)


def summed_loss(model: nn.Module, examples: Examples) -> Tensor:
    """Sum of the cross-entropies of one target a position, computed in fp32."""
    logits = model(examples.ids, **examples.more)
    return F.cross_entropy(logits.float().flatten(0, 1), examples.targets.flatten(), reduction="sum")


def counted(targets: Tensor) -> int:
    """Targets that are not IGNORE."""
    return int((targets != IGNORE).sum())
