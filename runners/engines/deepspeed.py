"""DeepSpeed: ZeRO 1 to 3 with offload, and tensor parallelism by AutoTP (deepspeed.ai).

The optimizer is the one of the generated program, stepped by DeepSpeed on flat fp32 master weights, so that the curve
is that of one process. Weights are drawn, written and read as the flat ranges that ZeRO gives a rank: no process ever
holds a whole model in fp32, and a checkpoint is the same whichever engine wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from runners.checkpoint import MODEL, Checkpoint, Piece
from runners.engines import deepspeed_gradients as reduced
from runners.engines import deepspeed_shards as shards
from runners.engines.deepspeed_building import Whole, empty, optimizer_of, step_of, whole
from runners.engines.deepspeed_package import configuration, in_group
from runners.engines.step import Step
from runners.objective.examples import Examples
from runners.ranks import Ranks
from runners.recipe import Pretraining, Recipe


@dataclass(frozen=True)
class DeepSpeed:
    """A model in DeepSpeed's engine."""

    engine: Any
    """`deepspeed.DeepSpeedEngine` around the step."""
    step: Step
    owned: tuple[shards.Shard, ...]
    device: torch.device
    ranks: Ranks
    settings: Pretraining
    parameters: int
    """Parameters of the whole model."""

    @property
    def model(self) -> nn.Module:
        """The model itself."""
        return self.step.model

    @property
    def writes(self) -> bool:
        """Whether it can write text: no cache of keys and values has the right size where a rank holds some heads."""
        return self.ranks.layout.tensor == 1

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for a batch; the loss in nats per target token, and their norm before clipping.

        DeepSpeed takes the mean of gradients over data-parallel ranks, and the sum is wanted: each rank's loss is
        divided by the targets of the whole batch already. So it is multiplied with the number of ranks.
        """
        self.step.train()
        reduced.forget(self.engine)
        total = torch.zeros((), device=self.device)
        micro_batches = tuple(examples.split(self.settings.micro_batch_size))
        rows = len(examples.ids) * self.ranks.data_size
        for index, micro in enumerate(micro_batches):
            self.engine.set_gradient_accumulation_boundary(index == len(micro_batches) - 1)
            loss, tokens = self.engine(micro.to(self.device), len(micro.ids) / rows)
            total += tokens
            self.engine.backward(loss * self._averaged, scale_wrt_gas=False)
        return self.ranks.sum_over_tokens(total).item(), reduced.norm(self.engine)

    def update(self, learning_rate: float) -> None:
        """Clip the gradients and apply them."""
        for group in self.engine.optimizer.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("scale", 1.0)
        self.engine.step()

    @torch.no_grad()
    def auxiliary(self) -> float | None:
        """The model's auxiliary loss on the last micro-batch, before its coefficient; None where it has none."""
        return None if self.step.auxiliary_loss is None else self.step.model.auxiliary_loss().item()  # type: ignore[operator]

    @property
    def loss_scale(self) -> float | None:
        """What the loss is multiplied with now; None where it is not."""
        return float(self.engine.optimizer.loss_scale) if self.engine.fp16_enabled() else None

    @property
    def may_skip(self) -> bool:
        """Whether an infinite gradient only means that this step is skipped and the next one scaled less."""
        return isinstance(self.settings.loss_scale, str) and (self.loss_scale or 0.0) > 1.0

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token."""
        self.step.eval()
        losses = [self.step(micro.to(self.device), 0.0)[1] for micro in examples.split(self.settings.micro_batch_size)]
        reduced.release(self.engine)
        total = torch.tensor(math.fsum(loss.item() for loss in losses), dtype=torch.float64)
        return self.ranks.sum_over_tokens(total).item()

    def autocast(self) -> AbstractContextManager[Any]:
        """The weights themselves are in 16 bits where the precision says so."""
        return nullcontext()

    def pieces(self) -> Iterator[Piece]:
        """What this rank has to write: its ranges of master weights and of optimizer states."""
        return shards.pieces(self.engine.optimizer, self.owned)

    def scalars(self) -> dict[str, Any]:
        """The loss scaling of fp16."""
        return reduced.scaling(self.engine)

    def restore(self, found: Checkpoint) -> None:
        """Continue from a checkpoint of any layout and engine."""
        reduced.forget(self.engine)
        shards.restore(self.engine.optimizer, self.owned, found)
        reduced.scale_as(self.engine, found.scalars)

    @property
    def _averaged(self) -> int:
        """Ranks over which DeepSpeed takes the mean of gradients."""
        return self.ranks.data_size * self.ranks.layout.context


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> DeepSpeed:
    """The engine, its weights drawn by (seed, name, block) where there is no `base`; each rank draws what it owns."""
    config, known = configuration(recipe), whole(recipe)
    started = in_group()
    step = step_of(recipe, empty(recipe, ranks, place, config))
    # The optimizer is made when the weights are those that are trained: AutoTP puts others in the place of some.
    engine, *_ = started.initialize(
        model=step, optimizer=lambda _: optimizer_of(recipe, known.shapes, step.model), config=config
    )
    if ranks.layout.tensor > 1:
        # It compares the arguments of the first step among tensor-parallel ranks, and knows no dataclass.
        engine.first_dataloader_check.remove()
    owned = first_values(engine, step.model, known, ranks, base)
    return DeepSpeed(engine, step, owned, place, ranks, recipe.settings, known.parameters)


def first_values(
    engine: Any, model: nn.Module, known: Whole, ranks: Ranks, base: Checkpoint | None
) -> tuple[shards.Shard, ...]:
    """Give the weights their first values; what this rank owns of them."""
    size, index = ranks.layout.tensor, ranks.layout.place(ranks.rank)["tensor"]
    weights = dict(model.named_parameters())
    parts = {name: shards.part_of(name, known.shapes[name], each, size, index) for name, each in weights.items()}
    owned = shards.shards(engine.optimizer, weights, parts)
    shards.fill(engine.optimizer, owned, known.draw if base is None else shards.reader(base, MODEL))
    return owned
