"""What the training loop asks of an engine: a model with its optimizer, on one device or spread over many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from runners.checkpoint import Checkpoint, Piece
from runners.objective.examples import Examples
from runners.ranks import Ranks


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


class Engine(Protocol):
    """A model with its optimizer. Every process of a run calls the same methods in the same order."""

    @property
    def model(self) -> nn.Module:
        """What this process holds of the model; its weights go by the names of the whole one."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def ranks(self) -> Ranks:
        """The process among the others."""

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""

    @property
    def writes(self) -> bool:
        """Whether all processes together can write text with `model`, each of them the same."""

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied with now; None where it is not."""

    @property
    def may_skip(self) -> bool:
        """Whether an infinite gradient only means that this step is skipped and the next one scaled less."""

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for this process's rows of a batch.

        `examples.count` is the number of targets of the whole batch. Returns the loss of the whole batch in nats per
        target, and the norm of the whole gradient before clipping: the same on every process.
        """

    def update(self, learning_rate: float) -> None:
        """Apply the gradients."""

    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token; `examples` are this process's rows of it."""

    def auxiliary(self) -> float | None:
        """The model's auxiliary loss on the last micro-batch, before its coefficient; None where it has none."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of the forward pass."""

    def pieces(self) -> Iterator[Piece]:
        """What this process has to write: weights as `model/NAME`, optimizer states as `optimizer/NAME/STATE`.

        Each element of each tensor is given by exactly one process.
        """

    def scalars(self) -> dict[str, Any]:
        """What a resumed run needs beside them, as JSON: data and dropout follow from the number of the step."""

    def restore(self, found: Checkpoint) -> None:
        """Continue from a checkpoint, also one of another layout or engine."""
