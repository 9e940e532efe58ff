"""The step of PyTorch's own engine. One process runs it as it is; layouts of several replace parts of it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from runners.checkpoint import Checkpoint, Piece, optimizer_state
from runners.engines.engine import Optimizer, Regulated
from runners.engines.recompute import blocks, recompute_activations
from runners.engines.step import Step
from runners.fp8 import use_fp8
from runners.init import initialise
from runners.objective.examples import Examples, summed_loss
from runners.ranks import ALONE, Ranks
from runners.recipe import Recipe

_INITIAL_SCALE = 2.0**16


@dataclass(frozen=True)
class TorchEngine:
    """A model with its optimizer on one device."""

    step: Step
    optimizer: Optimizer
    device: torch.device
    micro_batch_size: int
    max_grad_norm: float | None
    scaler: torch.amp.GradScaler | None = None
    """Multiplies the loss, so that small gradients are not zero in fp16."""
    fixed_scale: float | None = None
    """None where the scaler finds its own."""
    after_step: bool = False
    """Whether the model's `after_step()` follows each step of the optimizer."""
    ranks: Ranks = ALONE
    wrapped: nn.Module | None = None
    """What is called in the place of `step`: around it lies what spreads it over processes, or compiles it."""

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.step.model

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def writes(self) -> bool:
        """Whether it can write text."""
        return True

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for a batch; the loss in nats per target token, and their norm before clipping."""
        self.step.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        micro_batches = tuple(examples.split(self.micro_batch_size))
        rows = len(examples.ids) * self.ranks.data_size
        for index, micro in enumerate(micro_batches):
            with self._reducing(last=index == len(micro_batches) - 1):
                loss, tokens = self._forward(micro.to(self.device), len(micro.ids) / rows)
                total += tokens
                torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
        if self.scaler is not None:
            self.scaler.unscale_(cast("torch.optim.Optimizer", self.optimizer))
        norm = self._clipped(float("inf") if self.max_grad_norm is None else self.max_grad_norm)
        return self.ranks.sum_over_tokens(total).item(), norm.item()

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
        return None if self.step.auxiliary_loss is None else cast("Regulated", self.model).auxiliary_loss().item()

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
        self.step.eval()
        losses = [self._forward(micro.to(self.device), 0.0)[1] for micro in examples.split(self.micro_batch_size)]
        total = torch.tensor(math.fsum(loss.item() for loss in losses), dtype=torch.float64)
        return self.ranks.sum_over_tokens(total).item()

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of the forward pass."""
        return self.step.autocast(self.device)

    def pieces(self) -> Iterator[Piece]:
        """What is written of it: weights, and states of the optimizer."""
        return optimizer_state.pieces(self.model, self.optimizer)

    def scalars(self) -> dict[str, Any]:
        """What a resumed run needs beside them: data and masks of dropout follow from the number of the step."""
        return {} if self.scaler is None else {"loss_scale": self.scaler.state_dict()}

    def restore(self, found: Checkpoint) -> None:
        """Continue from a checkpoint, also one of another device."""
        optimizer_state.restore(found, self.model, self.optimizer)
        if self.scaler is not None and "loss_scale" in found.scalars:
            self.scaler.load_state_dict(dict(found.scalars["loss_scale"]))

    def _forward(self, examples: Examples, share: float) -> tuple[Tensor, Tensor]:
        called = self.step if self.wrapped is None else self.wrapped  # a compiled module has no truth value
        losses: tuple[Tensor, Tensor] = called(examples, share)
        return losses

    def _reducing(self, *, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002 - one process sums nothing
        """Around a micro-batch: gradients are summed over processes after the last one only."""
        return nullcontext()

    def _clipped(self, limit: float) -> Tensor:
        """Scale all gradients down to this norm; their norm before."""
        return nn.utils.clip_grad_norm_(self.model.parameters(), limit)


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> TorchEngine:
    """The engine of one process, its weights drawn by (seed, name, block) where there is no `base`."""
    del ranks
    settings = recipe.settings
    be_deterministic(place)
    torch.manual_seed(settings.seed)
    model = recipe.model()
    if base is None:
        initialise(model, recipe.initialisation, settings.seed)
    else:
        base.load_into(model)
    model.to(place)
    if settings.precision == "fp8":
        use_fp8(model, place)
    recompute_activations(blocks(model), settings.activation_checkpointing)
    scale = settings.loss_scale
    engine = single(
        model,
        recipe.optimizer(model),
        place,
        settings.precision,
        settings.micro_batch_size,
        settings.max_grad_norm,
        loss_scaler(place, scale),
        None if isinstance(scale, str) else scale,
        settings.auxiliary_loss,
        settings.after_step,
        settings.loss,
    )
    return replace(engine, wrapped=torch.compile(engine.step)) if settings.compile else engine


def single(
    model: nn.Module,
    optimizer: Optimizer,
    device: torch.device,
    precision: str,
    micro_batch_size: int,
    max_grad_norm: float | None,
    scaler: torch.amp.GradScaler | None = None,
    fixed_scale: float | None = None,
    auxiliary_loss: float | None = None,
    after_step: bool = False,
    loss: Callable[[nn.Module, Examples], Tensor] = summed_loss,
) -> TorchEngine:
    """The engine of one process."""
    step = Step(model, precision, loss, auxiliary_loss)
    return TorchEngine(step, optimizer, device, micro_batch_size, max_grad_norm, scaler, fixed_scale, after_step)


def loss_scaler(device: torch.device, scale: float | str | None) -> torch.amp.GradScaler | None:
    """For a fixed scale, for `dynamic` (halved after an overflow, doubled after 2,000 steps without), or none."""
    if scale is None:
        return None
    start = _INITIAL_SCALE if isinstance(scale, str) else scale
    return torch.amp.GradScaler(device.type, init_scale=start)


def be_deterministic(device: torch.device) -> None:
    """Let PyTorch choose only algorithms that give the same bits each time.

    On a CPU with several threads too, gradients of what is read by an index (embeddings of compiled programs, tokens of
    experts) are otherwise added up in the order in which threads come.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
