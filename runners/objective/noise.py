"""Spans of noise: which tokens a denoiser hides, and what it leaves and asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runners.objective.draws import Draws


@dataclass(frozen=True)
class Spans:
    """`noise_tokens` of `tokens` in `spans` spans, neither the first token nor two spans side by side."""

    tokens: int
    noise_tokens: int
    spans: int

    def mask(self, draw: Draws) -> np.ndarray:
        """Which tokens are noise, bool [tokens].

        Text and noise are both cut into as many pieces of random lengths, which then take turns, text first (Raffel et
        al. 2020, T5, arXiv:1910.10683, section 3.1.4; every cut is as likely).
        """
        noise = _pieces(self.noise_tokens, self.spans, draw)
        text = _pieces(self.tokens - self.noise_tokens, self.spans, draw)
        lengths = np.stack((text, noise), axis=1).flatten()
        return np.repeat(np.arange(2 * self.spans) % 2 == 1, lengths)


@dataclass(frozen=True)
class Sentinels:
    """Ids that stand for the spans, in order."""

    first: int
    step: int = 1

    def ids(self, count: int) -> np.ndarray:
        """The first `count` of them, int64."""
        ids: np.ndarray = self.first + self.step * np.arange(count)
        return ids


def with_sentinels(tokens: np.ndarray, hidden: np.ndarray, sentinels: Sentinels) -> np.ndarray:
    """The tokens with each run of hidden ones as one sentinel, int64.

    What this leaves out is `with_sentinels(tokens, ~hidden, sentinels)`: what is asked for, each span after the
    sentinel that stands for it (Raffel et al. 2020, figure 2).
    """
    before = np.concatenate(([False], hidden[:-1]))
    first = hidden & ~before
    marked = tokens.astype(np.int64)
    marked[first] = sentinels.ids(int(first.sum()))
    return marked[first | ~hidden]


def _pieces(items: int, count: int, draw: Draws) -> np.ndarray:
    """Lengths of `count` pieces of `items`, none empty, int64 [count]; every way to cut them is as likely."""
    cuts = draw.choose(items - 1, count - 1) + 1
    return np.diff(np.concatenate(([0], cuts, [items])))
