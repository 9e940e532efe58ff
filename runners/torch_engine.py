"""The `torch` engine in a single process: a step of the optimizer on one device."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

PRECISIONS = ("fp32", "bf16")
ACTIVATION_CHECKPOINTING = ("none", "full")


@dataclass(frozen=True)
class TorchEngine:
    """A model with its optimizer on one device."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    precision: str
    """fp32, or bf16: weights, gradients and optimizer state in fp32, matrix products in bf16."""
    micro_batch_size: int
    max_grad_norm: float | None

    def gradients(self, rows: Tensor) -> tuple[float, float]:
        """Set the gradients for int64 [B, T + 1]; the loss in nats per token, and their norm before clipping.

        Each micro-batch adds the sum over its tokens divided by the tokens of the whole batch, so that the loss is
        the mean over all target tokens, however they are split.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for micro in torch.split(rows, self.micro_batch_size):
            loss = self._summed_loss(micro) / rows[:, 1:].numel()
            torch.autograd.backward(loss)
            total += loss.detach()
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return total.item(), norm.item()

    def update(self, learning_rate: float) -> None:
        """Apply the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()

    @torch.no_grad()
    def validation_loss(self, rows: Tensor) -> float:
        """Mean loss over int64 [B, T + 1], nats per token."""
        self.model.eval()
        total = math.fsum(self._summed_loss(micro).item() for micro in torch.split(rows, self.micro_batch_size))
        return total / rows[:, 1:].numel()

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of the forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights."""
        state = {"optimizer": self.optimizer.state_dict(), "torch_rng": torch.get_rng_state()}
        return state | ({"cuda_rng": torch.cuda.get_rng_state(self.device)} if self.device.type == "cuda" else {})

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from a checkpoint, also one of another device."""
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    def _summed_loss(self, rows: Tensor) -> Tensor:
        rows = rows.to(self.device)
        with self.autocast():
            logits = self.model(rows[:, :-1])
        return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")


def be_deterministic(device: torch.device) -> None:
    """Let CUDA choose only algorithms that give the same bits each time; on a CPU they do so anyway."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def recompute_activations(layers: Iterable[nn.Module]) -> None:
    """Keep only each layer's input for the backward pass, and compute the rest again. Names of weights stay."""
    for layer in layers:
        layer.forward = _recomputing(layer.forward)


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputing(*inputs: Any) -> Any:
        return checkpoint(forward, *inputs, use_reentrant=False) if torch.is_grad_enabled() else forward(*inputs)

    return recomputing
