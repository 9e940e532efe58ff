"""The rest of a text after a prefix that is read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from runners.objective.draws import Draws
from runners.objective.examples import IGNORE, Examples, counted, next_token
from runners.objective.token_loss import PLAIN, TokenLoss


@dataclass(frozen=True)
class Prefix:
    """A prefix of random length attends to all of itself, and the loss counts what follows it (Raffel et al. 2020, T5,
    arXiv:1910.10683, section 3.2.1).
    """

    min_length: int
    """Of the prefix, tokens; every length from here to `max_length` is as likely."""
    max_length: int
    writes_after: ClassVar[str | None] = "prefix"

    def window(self, context_length: int) -> int:
        """The context, read one token further for the last target."""
        return context_length

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, T + 1] to T inputs, T targets and the lengths of the prefixes, int64 [B]."""
        lengths = [draw.between(self.min_length, self.max_length) for draw in draws]
        prefix_B = torch.tensor(lengths)
        return after_prefix(rows, prefix_B)

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Sum over the tokens after the prefixes, nats."""
        return by.summed(model, examples)


def after_prefix(rows: Tensor, prefix_B: Tensor) -> Examples:
    """Next tokens of int64 [B, T + 1], those within a prefix of length [B] ignored; it is handed on as `prefix_B`."""
    plain = next_token(rows)
    position_T = torch.arange(1, rows.shape[1])
    targets = plain.targets.masked_fill(position_T < prefix_B[:, None], IGNORE)
    return Examples(plain.ids, targets, counted(targets), {"prefix_B": prefix_B})
