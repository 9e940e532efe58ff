"""From logits and targets to a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from runners.objective.examples import IGNORE, Examples


class Headed(Protocol):
    """A model whose last step can be done for some positions at a time."""

    def hidden(self, ids: Tensor, **more: Tensor) -> Tensor:
        """What the last block gives, [B, T, D]."""

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Scores of all tokens, [B, T, V]."""


@dataclass(frozen=True)
class TokenLoss:
    """The cross-entropy of targets, computed in fp32, with what is added to it while a model trains.

    A model in `eval()` is always scored by the plain cross-entropy, so that validation can be compared.
    """

    z_loss: float = 0.0
    """Times log^2 Z, the squared logarithm of the sum that softmax divides by (Chowdhery et al. 2022, PaLM,
    arXiv:2204.02311, section 5: 1e-4)."""
    label_smoothing: float = 0.0
    """Share of a target that is spread over all tokens alike (Szegedy et al. 2016, arXiv:1512.00567, section 7)."""
    chunk: int | None = None
    """Positions whose logits exist at one time; None is all. They are computed again in the backward pass."""

    def summed(self, model: nn.Module, examples: Examples) -> Tensor:
        """Sum over the targets of a batch, one a position, nats."""
        if self.chunk is None:
            return self.of(model(examples.ids, **examples.more), examples.targets, model.training)
        headed = cast("Headed", model)
        x_ND = headed.hidden(examples.ids, **examples.more).flatten(0, 1)
        targets_N = examples.targets.flatten()

        def part(x_nD: Tensor, targets_n: Tensor) -> Tensor:
            with _casting_each_time(x_nD.device.type):
                return self.of(headed.logits(x_nD[None]), targets_n, model.training)

        sums = [
            # Nothing in a head is drawn, so that there is no state of generators to keep.
            checkpoint(part, *pair, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else part(*pair)
            for pair in zip(x_ND.split(self.chunk), targets_N.split(self.chunk), strict=True)
        ]
        return torch.stack(sums).sum()

    def of(self, logits: Tensor, targets: Tensor, training: bool) -> Tensor:
        """Sum over the targets [...] of logits [..., V], those that are IGNORE left out."""
        logits_NV, targets_N = logits.float().flatten(0, -2), targets.flatten()
        smoothing = self.label_smoothing if training else 0.0
        loss = F.cross_entropy(logits_NV, targets_N, reduction="sum", label_smoothing=smoothing)
        if not self.z_loss or not training:
            return loss
        squares_N = logits_NV.logsumexp(dim=-1).square()
        return loss + self.z_loss * squares_N.masked_fill(targets_N == IGNORE, 0.0).sum()


PLAIN = TokenLoss()


def _casting_each_time(device: str) -> torch.autocast:
    """The arithmetic that is in force, without its cache: chunks that shared one narrow copy of the head's weight would
    add up their gradients of it in the narrow type.
    """
    kind, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    return torch.autocast(device, kind, enabled=enabled, cache_enabled=False)
