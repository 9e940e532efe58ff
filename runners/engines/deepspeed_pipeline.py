"""DeepSpeed's pipeline engine with ZeRO-1: 1F1B (Narayanan et al. 2021, arXiv:2104.04473, section 2.2.1).

Each stage of the plan is one layer to DeepSpeed, the generated model without the blocks and ends that lie elsewhere, so
that weights keep their names. The first and the last hold the table of a tied embedding both, and add up its gradients.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runners.checkpoint import Checkpoint, Piece
from runners.engines import deepspeed_gradients as reduced
from runners.engines import deepspeed_shards as shards
from runners.engines.deepspeed import DeepSpeed, first_values
from runners.engines.deepspeed_building import optimizer_of, step_of, whole, with_memory
from runners.engines.deepspeed_package import (
    LayerSpec,
    PipelineModule,
    TiedLayerSpec,
    configuration,
    in_group,
    schedule,
)
from runners.engines.stage import TABLE, Inbox, Stage, is_tied, piece
from runners.objective.examples import Examples
from runners.ranks import Ranks
from runners.recipe import Recipe


class Layer(nn.Module):
    """A stage as DeepSpeed calls it: one tensor in, one out. It sees micro-batches in their order."""

    def __init__(self, make: Callable[[int], Stage], index: int) -> None:
        """Made by the rank that runs it, and by no other."""
        super().__init__()
        self.stage = make(index)
        self.times = 1
        """Undoes the mean that DeepSpeed takes over data-parallel ranks and micro-batches."""
        self.micro_batches: Iterator[Examples] = iter(())
        self.losses: list[Tensor] = []
        """Of the micro-batches, where this is the last stage."""

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states [B, T, D], or the loss that is differentiated, without axes."""
        micro = next(self.micro_batches)
        made: Tensor = self.stage(x, ids=micro.ids, targets=micro.targets, **micro.more)
        if not self.stage.is_last:
            return made
        self.losses.append(made.detach().sum())
        return made.sum() * self.times


@dataclass(frozen=True)
class DeepSpeedPipeline(DeepSpeed):
    """A stage of the model in DeepSpeed's pipeline engine."""

    layer: Layer | None = None

    @property
    def writes(self) -> bool:
        """No rank could write token by token."""
        return False

    @property
    def layer_(self) -> Layer:
        """What DeepSpeed calls."""
        assert self.layer is not None, "a pipeline has layers"
        return self.layer

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for a batch; the loss in nats per target token, and their norm before clipping.

        The schedule of DeepSpeed ends with the step of the optimizer, which is left out: it is for `update`.
        """
        reduced.forget(self.engine)
        self.engine.module.train()
        loss = self._run(examples, training=True)
        return loss, reduced.norm(self.engine)

    def update(self, learning_rate: float) -> None:
        """Clip the gradients and apply them."""
        for group in self.engine.optimizer.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("scale", 1.0)
        self.engine._exec_optimizer_step()

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token."""
        self.engine.module.eval()
        return self._run(examples, training=False)

    def pieces(self) -> Iterator[Piece]:
        """What this rank has to write; the table of a tied embedding is the first stage's to write."""
        is_first = self.ranks.layout.place(self.ranks.rank)["pipeline"] == 0
        own = tuple(shard for shard in self.owned if is_first or shard.name != TABLE)
        return shards.pieces(self.engine.optimizer, own)

    def _run(self, examples: Examples, *, training: bool) -> float:
        """Send a batch through the pipeline; its loss, on every rank."""
        engine, layer = self.engine, self.layer_
        micro_batches = tuple(
            micro.to(self.device) for micro in examples.split(_even(len(examples.ids), self.settings.micro_batch_size))
        )
        layer.stage.count, layer.losses = max(examples.count, 1), []
        layer.micro_batches = iter(micro_batches)
        layer.times = self._averaged * engine.gradient_accumulation_steps()
        engine.set_dataiterator(iter([(micro.ids, micro.targets) for micro in micro_batches]))
        engine.reset_activation_shape()
        engine.total_loss, engine._compute_loss = None, True
        kind = schedule.TrainSchedule if training else schedule.InferenceSchedule
        engine._exec_schedule(kind(len(micro_batches), engine.num_stages, engine.stage_id))
        total = torch.stack(layer.losses).sum() if layer.losses else torch.zeros((), device=self.device)
        dist.all_reduce(total)
        return total.item()


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> DeepSpeedPipeline:
    """The engine of one stage, its weights drawn by (seed, name, block) where there is no `base`."""
    config, known, started = configuration(recipe), whole(recipe), in_group()
    module = _module(recipe, ranks, place)
    layer = next(part for part in module.modules() if isinstance(part, Layer))
    step = layer.stage
    engine, *_ = started.initialize(
        model=module, optimizer=lambda _: optimizer_of(recipe, known.shapes, step.model), config=config
    )
    # What ends the schedule is for `update`; the map is the class's, and this one is the engine's own.
    engine._INSTRUCTION_MAP = {**engine._INSTRUCTION_MAP, schedule.OptimizerStep: _later}
    owned = first_values(engine, step.model, known, ranks, base)
    return DeepSpeedPipeline(engine, step, owned, place, ranks, recipe.settings, known.parameters, layer)


def _module(recipe: Recipe, ranks: Ranks, place: torch.device) -> Any:
    """The stage of this rank as DeepSpeed's pipeline takes it."""
    stages = ranks.layout.stages
    last = len(stages) - 1
    tied = is_tied(on_meta(recipe.model))

    def stage(index: int) -> Stage:
        model = with_memory(piece(on_meta(recipe.model), stages, index), recipe, place)
        return Stage(step_of(recipe, model), Inbox(model, _as_it_is) if index else None, is_last=index == last)

    specs = [
        TiedLayerSpec("ends", Layer, stage, index, tied_weight_attr=f"stage.model.{TABLE}")
        if tied and index in (0, last)
        else LayerSpec(Layer, stage, index)
        for index in range(len(stages))
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how it divides what is divided already
        made = PipelineModule(specs, num_stages=len(stages), partition_method="uniform")
    for name, weight in made.named_parameters():
        # Of a tied layer DeepSpeed takes every weight for a copy, and would leave all of them out of the norm.
        weight.ds_pipe_replicated = tied and name.endswith(TABLE) and made.stage_id > 0
    return made


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    """A model that takes no memory."""
    with torch.device("meta"):
        return make()


def _later(engine: Any) -> None:
    """Nothing, in the place of an instruction."""


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _even(rows: int, largest: int) -> int:
    """The largest micro-batch that divides the rows: a pipeline sends tensors of one shape."""
    return next(size for size in range(min(largest, rows), 0, -1) if rows % size == 0)
