"""The next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from runners.objective.draws import Draws
from runners.objective.examples import Examples, next_token
from runners.objective.token_loss import PLAIN, TokenLoss


@dataclass(frozen=True)
class Causal:
    """Each token from all before it (Radford et al. 2018, GPT, section 3.1)."""

    writes_after: ClassVar[str | None] = "causal"

    def window(self, context_length: int) -> int:
        """The context, read one token further for the last target."""
        return context_length

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, T + 1] to T inputs and T targets; nothing is drawn."""
        del draws
        return next_token(rows)

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Sum over all tokens, nats."""
        return by.summed(model, examples)
