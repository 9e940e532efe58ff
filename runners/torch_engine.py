"""The `torch` engine in a single process: a step of the optimizer on one device."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from runners.objective.examples import Examples, summed_loss

PRECISIONS = ("fp32", "bf16", "fp16")
ACTIVATION_CHECKPOINTING = ("none", "full")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_INITIAL_SCALE = 2.0**16


class Optimizer(Protocol):
    """What a step needs of an optimizer, or of several behind one step."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Weights with what stands for them; `scale` multiplies the learning rate where it is there."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def step(self) -> Any:
        """Apply the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes back."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Continue from a saved state."""


class Regulated(Protocol):
    """What a model has where training does more with it than apply the gradients of the loss of its tokens."""

    def auxiliary_loss(self) -> Tensor:
        """A further loss, of the last forward pass."""

    def after_step(self) -> None:
        """Change what no gradient changes, after a step of the optimizer."""


@dataclass(frozen=True)
class TorchEngine:
    """A model with its optimizer on one device."""

    model: nn.Module
    optimizer: Optimizer
    device: torch.device
    precision: str
    """fp32, or bf16 or fp16: weights, gradients and optimizer state in fp32, matrix products in 16 bits."""
    micro_batch_size: int
    max_grad_norm: float | None
    scaler: torch.amp.GradScaler | None = None
    """Multiplies the loss, so that small gradients are not zero in fp16."""
    fixed_scale: float | None = None
    """None where the scaler finds its own."""
    auxiliary_loss: float | None = None
    """What the model's `auxiliary_loss()` is multiplied by and added to the loss; None where it has none."""
    after_step: bool = False
    """Whether the model's `after_step()` follows each step of the optimizer."""
    loss: Callable[[nn.Module, Examples], Tensor] = summed_loss
    """Sum of the loss over the targets of a micro-batch, nats."""

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for a batch; the loss in nats per target token, and their norm before clipping.

        Each micro-batch adds the sum over its tokens divided by the tokens of the whole batch, so that the loss is
        the mean over all target tokens, however they are split. An auxiliary loss of the model is one of a micro-batch,
        weighted by its share of the tokens; it is part of the gradients and not of the loss that is returned.
        """
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for micro in examples.split(self.micro_batch_size):
            loss = self._summed_loss(micro) / max(examples.count, 1)
            total += loss.detach()
            if self.auxiliary_loss is not None:
                # Before the backward pass, which may compute blocks again.
                share = self.auxiliary_loss * len(micro.ids) / len(examples.ids)
                loss = loss + share * cast("Regulated", self.model).auxiliary_loss()
            torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
        if self.scaler is not None:
            self.scaler.unscale_(cast("torch.optim.Optimizer", self.optimizer))
        limit = float("inf") if self.max_grad_norm is None else self.max_grad_norm
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return total.item(), norm.item()

    def update(self, learning_rate: float) -> None:
        """Apply the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("scale", 1.0)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(cast("torch.optim.Optimizer", self.optimizer))
            self.scaler.update(self.fixed_scale)
        if self.after_step:
            cast("Regulated", self.model).after_step()

    @torch.no_grad()
    def auxiliary(self) -> float | None:
        """The model's auxiliary loss on the last micro-batch, before its coefficient; None where it has none."""
        return None if self.auxiliary_loss is None else cast("Regulated", self.model).auxiliary_loss().item()

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied with now; None where it is not."""
        return None if self.scaler is None else self.scaler.get_scale()

    @property
    def may_skip(self) -> bool:
        """Whether an infinite gradient only means that this step is skipped and the next one scaled less."""
        return self.scaler is not None and self.fixed_scale is None and self.scaler.get_scale() > 1.0

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token."""
        self.model.eval()
        total = math.fsum(self._summed_loss(micro).item() for micro in examples.split(self.micro_batch_size))
        return total / max(examples.count, 1)

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of the forward pass."""
        narrow = _AUTOCAST.get(self.precision)
        return nullcontext() if narrow is None else torch.autocast(self.device.type, narrow)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the weights: data and masks of dropout follow from the number of the step."""
        state = {"optimizer": self.optimizer.state_dict()}
        return state if self.scaler is None else state | {"loss_scale": self.scaler.state_dict()}

    def restore(self, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from a checkpoint, also one of another device."""
        self.model.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None and "loss_scale" in state:
            self.scaler.load_state_dict(state["loss_scale"])

    def _summed_loss(self, examples: Examples) -> Tensor:
        with self.autocast():
            return self.loss(self.model, examples.to(self.device))


def loss_scaler(device: torch.device, scale: float | str | None) -> torch.amp.GradScaler | None:
    """For a fixed scale, for `dynamic` (halved after an overflow, doubled after 2,000 steps without), or none."""
    if scale is None:
        return None
    start = _INITIAL_SCALE if isinstance(scale, str) else scale
    return torch.amp.GradScaler(device.type, init_scale=start)


def be_deterministic(device: torch.device) -> None:
    """Let CUDA choose only algorithms that give the same bits each time; on a CPU they do so anyway."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a generated model, those of an encoder beside the decoder first."""
    stacks = (module for name, module in model.named_modules() if name in ("encoder.layers", "layers"))
    return [block for stack in stacks for block in stack.children()]


def recompute_activations(layers: Iterable[nn.Module]) -> None:
    """Keep only each layer's input for the backward pass, and compute the rest again. Names of weights stay."""
    for layer in layers:
        layer.forward = _recomputing(layer.forward)


def _recomputing(forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputing(*inputs: Any) -> Any:
        return checkpoint(forward, *inputs, use_reentrant=False) if torch.is_grad_enabled() else forward(*inputs)

    return recomputing
