"""Tokens that were hidden, from both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from runners.objective.draws import Draws
from runners.objective.examples import IGNORE, Examples, counted
from runners.objective.token_loss import PLAIN, TokenLoss


@dataclass(frozen=True)
class Masked:
    """Some tokens are to be recovered; of these most are masked, some replaced, some kept (Devlin et al. 2019, BERT,
    arXiv:1810.04805, section 3.1).
    """

    rate: float
    """Share of a row's tokens that are to be recovered, rounded to whole tokens and at least one."""
    mask_share: float
    random_share: float
    """Of what is to be recovered; what both leave is kept as it is."""
    mask_token: int
    text_ids: int
    """Ids below this are text: what is recovered, and what replaces it, is one of them."""
    writes_after: ClassVar[str | None] = None

    def window(self, context_length: int) -> int:
        """The context; the token after it is not read."""
        return context_length

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, T + 1] to T inputs and T targets, ignored where nothing is hidden."""
        given = rows[:, :-1].numpy()
        pairs = [self._row(tokens, draw) for tokens, draw in zip(given, draws, strict=True)]
        ids, targets = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        return Examples(ids, targets, counted(targets))

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Sum over the tokens to be recovered, nats."""
        return by.summed(model, examples)

    def _row(self, tokens: np.ndarray, draw: Draws) -> tuple[np.ndarray, np.ndarray]:
        candidates = np.flatnonzero(tokens < self.text_ids)
        if not len(candidates):  # ends of empty documents and nothing else
            return tokens, np.full_like(tokens, IGNORE)
        count = max(1, round(self.rate * len(candidates)))
        chosen = candidates[draw.choose(len(candidates), count)]
        sort, other = draw.uniform(count), (draw.uniform(count) * self.text_ids).astype(tokens.dtype)
        replaced = np.where(sort < self.mask_share + self.random_share, other, tokens[chosen])
        ids, targets = tokens.copy(), np.full_like(tokens, IGNORE)
        ids[chosen] = np.where(sort < self.mask_share, self.mask_token, replaced)
        targets[chosen] = tokens[chosen]
        return ids, targets
