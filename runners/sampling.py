"""Writes text with a generated model, one token at a time, keys and values cached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def generate(
    model: nn.Module,
    cache: type[Any],
    prompt: Tensor,
    count: int,
    stop: Callable[[Tensor], bool] = lambda _: False,
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    *,
    sees_prompt: bool = False,
) -> Tensor:
    """Up to `count` tokens after `prompt` int64 [B, T]; int64 [B, <= count].

    The most likely token at temperature 0, else a draw by `generator` (a CPU one, whatever the model's device). `stop`
    is asked after each token, with all tokens written so far. With `sees_prompt` the prompt reads all of
    itself.
    """
    store = cache(prompt.shape[0], prompt.shape[1] + count, next(model.parameters()))
    written, ids = prompt[:, :0], prompt
    first = {"prefix_B": prompt.new_full((prompt.shape[0],), prompt.shape[1])} if sees_prompt else {}
    while written.shape[1] < count and not (written.shape[1] and stop(written)):
        logits = model(ids, store, **(first if not written.shape[1] else {}))[:, -1].float()
        ids = _next(logits, temperature, generator)
        written = torch.cat((written, ids), dim=1)
    return written


def _next(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """One token per row of [B, V], int64 [B, 1]."""
    if temperature == 0.0:
        return logits.argmax(dim=-1, keepdim=True)
    probabilities = torch.softmax(logits / temperature, dim=-1).cpu()
    return torch.multinomial(probabilities, 1, generator=generator).to(logits.device)
