"""Spans that were hidden, written by a decoder that reads the rest through an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from runners.objective.draws import Draws
from runners.objective.examples import Examples
from runners.objective.noise import Sentinels, Spans, with_sentinels
from runners.objective.token_loss import PLAIN, TokenLoss


@dataclass(frozen=True)
class SpanCorruption:
    """Spans become sentinels, and the targets are the sentinels with their spans (Raffel et al. 2020, T5,
    arXiv:1910.10683, section 3.1.4).
    """

    tokens: int
    """Of the data set, behind one sequence."""
    noise_tokens: int
    spans: int
    first_sentinel: int
    end: int
    """Id that ends inputs and targets, and that the decoder starts with."""
    sentinel_step: int = 1
    writes_after: ClassVar[str | None] = None

    def window(self, context_length: int) -> int:
        """More tokens than the encoder reads: a span takes one place there."""
        del context_length
        return self.tokens

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, window + 1] to inputs [B, T], decoder inputs [B, U] and targets [B, U]; nothing is padded."""
        spans, sentinels = (
            Spans(self.tokens, self.noise_tokens, self.spans),
            Sentinels(self.first_sentinel, self.sentinel_step),
        )
        pairs = [
            denoising(row[: self.tokens], spans, sentinels, draw) for row, draw in zip(rows.numpy(), draws, strict=True)
        ]
        ids, targets = (
            torch.from_numpy(np.stack([ended(row, self.end) for row in part])) for part in zip(*pairs, strict=True)
        )
        return Examples(ids, targets, targets.numel(), {"decoder_ids_BT": shifted(targets, self.end)})

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Sum over sentinels, hidden tokens and the end, nats."""
        return by.summed(model, examples)


def denoising(tokens: np.ndarray, spans: Spans, sentinels: Sentinels, draw: Draws) -> tuple[np.ndarray, np.ndarray]:
    """What is shown of int64 [tokens], and what is asked for."""
    noise = spans.mask(draw)
    return with_sentinels(tokens, noise, sentinels), with_sentinels(tokens, ~noise, sentinels)


def ended(ids: np.ndarray, end: int) -> np.ndarray:
    """Ids with one more that ends them."""
    return np.append(ids, end)


def shifted(targets: Tensor, start: int) -> Tensor:
    """What a decoder reads when it is to write int64 [B, U]: a start, then each target but the last."""
    return torch.cat((targets.new_full((len(targets), 1), start), targets[:, :-1]), dim=1)
