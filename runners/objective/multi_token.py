"""Several next tokens at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from runners.objective.draws import Draws
from runners.objective.examples import IGNORE, Examples, asked, next_token
from runners.objective.token_loss import PLAIN, TokenLoss


@dataclass(frozen=True)
class MultiToken:
    """The next token and those after it, each by a part of the model of its own (Gloeckle et al. 2024,
    arXiv:2404.19737; DeepSeek-AI 2024, DeepSeek-V3, arXiv:2412.19437, section 2.2).
    """

    weights: tuple[float, ...]
    """Of the losses: the next token first."""
    writes_after: ClassVar[str | None] = "causal"

    def window(self, context_length: int) -> int:
        """The context, read one token further; later tokens are targets while they are within it."""
        return context_length

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, T + 1] to T inputs and targets [B, T, depth]. The count is that of the next tokens."""
        del draws
        plain = next_token(rows)
        targets = torch.full((*plain.targets.shape, len(self.weights)), IGNORE)
        for depth in range(len(self.weights)):
            targets[:, : targets.shape[1] - depth, depth] = asked(rows)[:, 1 + depth :]
        return Examples(plain.ids, targets, plain.count)

    def loss(self, model: Any, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Weighted sum over all depths while training; of the next token alone otherwise, as for any other model.

        Every depth has its logits, all of them: `by.chunk` does nothing here.
        """
        if not model.training:
            return by.of(model(examples.ids), examples.targets[..., 0], training=False)
        losses = [
            weight * by.of(logits, examples.targets[..., depth], training=True)
            for depth, (weight, logits) in enumerate(zip(self.weights, model.predict(examples.ids), strict=True))
        ]
        return torch.stack(losses).sum()
