"""What PyTorch's engines on several processes have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from runners.checkpoint import Piece, optimizer_state
from runners.engines.torch_engine import TorchEngine, loss_scaler
from runners.recipe import Pretraining

COUNTS = "seen_E"
"""End of the names of buffers that count tokens since the last step."""


@dataclass(frozen=True)
class SpreadEngine(TorchEngine):
    """One process of several. The gradients of its micro-batches are summed over processes, never averaged."""

    @property
    def writes(self) -> bool:
        """Where a rank computes a part of each sequence, it cannot compute one token."""
        return self.ranks.layout.context == 1

    def update(self, learning_rate: float) -> None:
        """Apply the gradients; what experts saw is summed before the model balances them."""
        if self.after_step:
            for name, buffer in self.model.named_buffers():
                if name.endswith(COUNTS):
                    self.ranks.sum_over_tokens(buffer)
        super().update(learning_rate)

    @torch.no_grad()
    def auxiliary(self) -> float | None:
        """The mean over processes of the model's auxiliary loss on their last micro-batches; None where it has none."""
        own = super().auxiliary()
        if own is None:
            return None
        parts = self.ranks.data_size * self.ranks.layout.context
        return float(self.ranks.sum_over_tokens(torch.tensor(own, dtype=torch.float64))) / parts

    def pieces(self) -> Iterator[Piece]:
        """What this process has to write: its rectangles of DTensors, and on the first process the plain tensors."""
        return optimizer_state.pieces(self.model, self.optimizer, lambda _: self.ranks.is_first)

    def _clipped(self, limit: float) -> Tensor:
        """Scale all gradients down to this norm; their norm before."""
        return whole(nn.utils.clip_grad_norm_(self.model.parameters(), limit))


def whole(value: Tensor) -> Tensor:
    """The same on every process, whatever mesh it lies on."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def engine_settings(settings: Pretraining, place: torch.device) -> dict[str, Any]:
    """Fields of an engine that follow from the settings of a stage alone."""
    scale = settings.loss_scale
    return {
        "device": place,
        "micro_batch_size": settings.micro_batch_size,
        "max_grad_norm": settings.max_grad_norm,
        "scaler": loss_scaler(place, scale),
        "fixed_scale": None if isinstance(scale, str) else scale,
        "after_step": settings.after_step,
    }
