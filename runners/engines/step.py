"""The loss of a micro-batch as one module: what DDP, FSDP and torch.compile are wrapped around."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from runners.engines.engine import Regulated
from runners.objective.examples import Examples, summed_loss

PRECISIONS = ("fp32", "bf16", "fp16", "fp8")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}


class Step(nn.Module):
    """A model with its objective."""

    def __init__(
        self,
        model: nn.Module,
        precision: str = "fp32",
        loss: Callable[[nn.Module, Examples], Tensor] = summed_loss,
        auxiliary_loss: float | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.precision = precision
        self.loss = loss
        self.auxiliary_loss = auxiliary_loss

    def forward(self, examples: Examples, share: float) -> tuple[Tensor, Tensor]:
        """The loss to differentiate, and what of it is the loss of the tokens, nats.

        Each micro-batch adds the sum over its tokens divided by the tokens of the whole batch, so that the loss is the
        mean over all target tokens, however they are split. An auxiliary loss of the model is one of a micro-batch,
        weighted by its `share` of the batch; it is part of the first and not of the second.
        """
        with self.autocast(examples.ids.device):
            loss = self.loss(self.model, examples) / max(examples.count, 1)
        tokens = loss.detach()
        if self.auxiliary_loss is not None and self.training:
            # Before the backward pass, which may compute blocks again.
            loss = loss + self.auxiliary_loss * share * cast("Regulated", self.model).auxiliary_loss()
        return loss, tokens

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Weights, gradients and optimizer state in fp32, matrix products in 16 bits where the precision says so."""
        narrow = _AUTOCAST.get(self.precision)
        return nullcontext() if narrow is None else torch.autocast(device.type, narrow)
