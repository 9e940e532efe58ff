"""A mixture of denoisers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from runners.objective.draws import Draws
from runners.objective.examples import IGNORE, Examples, counted
from runners.objective.noise import Sentinels, Spans
from runners.objective.prefix import after_prefix
from runners.objective.span_corruption import denoising, shifted
from runners.objective.token_loss import PLAIN, TokenLoss

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class SpanDenoiser:
    """R and X denoisers: hidden spans, few and short or many and long."""

    weight: float
    mode: int | None
    """Id that tells the model which denoiser it is, before the inputs."""
    tokens: int
    noise_tokens: int
    spans: int

    def pair(self, tokens: np.ndarray, sentinels: Sentinels, draw: Draws) -> Pair:
        """What is shown and what is asked for."""
        return denoising(tokens[: self.tokens], Spans(self.tokens, self.noise_tokens, self.spans), sentinels, draw)


@dataclass(frozen=True)
class PrefixDenoiser:
    """S denoiser: the end of a text after its beginning."""

    weight: float
    mode: int | None
    tokens: int
    max_targets: int
    """Tokens at the end that are asked for; every number from 1 to this is as likely."""

    def pair(self, tokens: np.ndarray, sentinels: Sentinels, draw: Draws) -> Pair:
        """What is shown and what is asked for."""
        del sentinels
        asked = draw.between(1, self.max_targets)
        return tokens[: self.tokens - asked], tokens[self.tokens - asked : self.tokens]


Denoiser = SpanDenoiser | PrefixDenoiser


@dataclass(frozen=True)
class Ul2:
    """Each sequence by one of the denoisers, drawn by weight (Tay et al. 2022, UL2, arXiv:2205.05131, section 3.1), for
    an encoder and a decoder.
    """

    denoisers: tuple[Denoiser, ...]
    input_length: int
    """Places of the encoder; a shorter input is padded with the end."""
    target_length: int
    """Places of the decoder; what is over is ignored."""
    first_sentinel: int
    end: int
    sentinel_step: int = 1
    writes_after: ClassVar[str | None] = None

    def window(self, context_length: int) -> int:
        """Tokens of the denoiser that reads most; the others leave the end of a window unread."""
        del context_length
        return max(denoiser.tokens for denoiser in self.denoisers)

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, window + 1] to inputs [B, T], which of them are tokens, decoder inputs and targets [B, U]."""
        sentinels = Sentinels(self.first_sentinel, self.sentinel_step)
        pairs = [_denoised(self.denoisers, row, sentinels, draw) for row, draw in zip(rows.numpy(), draws, strict=True)]
        ids = np.full((len(pairs), self.input_length), self.end)
        attended = np.zeros((len(pairs), self.input_length), dtype=bool)
        targets = np.full((len(pairs), self.target_length), IGNORE)
        for at, (shown, asked) in enumerate(pairs):
            ids[at, : len(shown)] = shown
            attended[at, : len(shown) + 1] = True
            targets[at, : len(asked) + 1] = [*asked, self.end]
        wanted = torch.from_numpy(targets)
        read = shifted(wanted.masked_fill(wanted == IGNORE, self.end), self.end)
        more = {"decoder_ids_BT": read, "attended_BT": torch.from_numpy(attended)}
        return Examples(torch.from_numpy(ids), wanted, counted(wanted), more)

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Sum over what is asked for, nats."""
        return by.summed(model, examples)


@dataclass(frozen=True)
class Ul2Decoder:
    """The same for a decoder alone: inputs, which see all of themselves, and targets in one sequence (Tay et al. 2022,
    section 3.2.1).
    """

    denoisers: tuple[Denoiser, ...]
    length: int
    """Places of the sequence; what is over is ignored."""
    first_sentinel: int
    end: int
    """What fills a sequence that is shorter."""
    sentinel_step: int = 1
    writes_after: ClassVar[str | None] = "prefix"

    def window(self, context_length: int) -> int:
        """Tokens of the denoiser that reads most; the others leave the end of a window unread."""
        del context_length
        return max(denoiser.tokens for denoiser in self.denoisers)

    def examples(self, rows: Tensor, draws: Sequence[Draws]) -> Examples:
        """int64 [B, window + 1] to T inputs, T targets and the lengths of what is shown, int64 [B]."""
        sentinels = Sentinels(self.first_sentinel, self.sentinel_step)
        pairs = [_denoised(self.denoisers, row, sentinels, draw) for row, draw in zip(rows.numpy(), draws, strict=True)]
        whole = np.full((len(pairs), self.length + 1), self.end)
        for at, (shown, asked) in enumerate(pairs):
            whole[at, : len(shown) + len(asked)] = (*shown, *asked)
        written = after_prefix(torch.from_numpy(whole), torch.tensor([len(shown) for shown, _ in pairs]))
        sizes = torch.tensor([len(shown) + len(asked) for shown, asked in pairs])
        targets = written.targets.masked_fill(torch.arange(1, self.length + 1) >= sizes[:, None], IGNORE)
        return Examples(written.ids, targets, counted(targets), written.more)

    def loss(self, model: nn.Module, examples: Examples, by: TokenLoss = PLAIN) -> Tensor:
        """Sum over what is asked for, nats."""
        return by.summed(model, examples)


def _denoised(denoisers: tuple[Denoiser, ...], tokens: np.ndarray, sentinels: Sentinels, draw: Draws) -> Pair:
    """One row by the denoiser that is drawn for it, its mode before what is shown."""
    sums = list(accumulate(denoiser.weight for denoiser in denoisers))
    at = int(np.searchsorted(sums, draw.uniform(1)[0] * sums[-1], side="right"))
    denoiser = denoisers[min(at, len(denoisers) - 1)]
    shown, asked = denoiser.pair(tokens, sentinels, draw)
    return (shown if denoiser.mode is None else np.concatenate(([denoiser.mode], shown))), asked
