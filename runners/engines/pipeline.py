"""Pipeline parallelism by torch.distributed.pipelining: each rank has one piece of the layers, or several.

GPipe (Huang et al. 2019, arXiv:1811.06965), 1F1B (Narayanan et al. 2021, arXiv:2104.04473, section 2.2.1) and
interleaved 1F1B (section 2.2.2) do the same sums in another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B
from torch.distributed.pipelining.stage import _PipelineStageBase

from runners.checkpoint import Checkpoint, Piece, optimizer_state
from runners.engines import tensor
from runners.engines.context import within_whole
from runners.engines.expert import add_up_copies, divide
from runners.engines.first_weights import give_weights, on_meta
from runners.engines.gradients import add_up, by_mesh, scale_down, square
from runners.engines.parts import step_of
from runners.engines.spread import SpreadEngine, engine_settings
from runners.engines.stage import TABLE, Inbox, Stage, is_tied, piece, united
from runners.engines.step import Step
from runners.engines.torch_engine import be_deterministic
from runners.errors import RunError
from runners.layout import Layout
from runners.objective.examples import Examples
from runners.ranks import SUMMED, Ranks
from runners.recipe import Pretraining, Recipe

SCHEDULES = ("gpipe", "1f1b", "interleaved_1f1b")


@dataclass(frozen=True)
class Line:
    """The ranks of one pipeline, and what goes from piece to piece."""

    group: dist.ProcessGroup
    ends: dist.ProcessGroup | None
    """Its first and last rank, where both have the table of a tied embedding."""
    width: int
    """Values of a hidden state."""
    parts: int
    """Ranks that a sequence is divided among."""

    def hidden(self, ids: Tensor) -> Tensor:
        """Hidden states of a micro-batch, empty; their sum over layers is fp32 in every precision."""
        rows, length = ids.shape
        return torch.empty(rows, length // self.parts, self.width, device=ids.device)


@dataclass(frozen=True, kw_only=True)
class PipelineEngine(SpreadEngine):
    """The pieces that this rank has of a model, with their optimizer."""

    stages: tuple[tuple[int, Stage], ...]
    """With their place in the model, in its order."""
    line: Line
    total: int
    schedules: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """By number and shape of micro-batches: they keep buffers for what they receive."""

    @property
    def writes(self) -> bool:
        """No rank could write token by token."""
        return False

    @property
    def parameters(self) -> int:
        """Parameters of the whole model."""
        return self.total

    def gradients(self, examples: Examples) -> tuple[float, float]:
        """Set the gradients for a batch; the loss in nats per target token, and their norm before clipping."""
        self._prepare(examples, training=True)
        self.optimizer.zero_grad(set_to_none=True)
        here, losses = examples.to(self.device), list[Tensor]()
        given = (here.ids,) if self.stages[0][0] == 0 else ()
        more = {"ids": here.ids, "targets": here.targets, **here.more}
        self._schedule(here).step(*given, target=here.targets, losses=losses, return_outputs=False, **more)
        loss = sum((one.detach().sum() for one in losses), torch.zeros((), device=self.device))
        norm = self._clipped(float("inf") if self.max_grad_norm is None else self.max_grad_norm)
        return self._whole(loss).item(), norm.item()

    @torch.no_grad()
    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token."""
        self._prepare(examples, training=False)
        total = torch.zeros((), device=self.device)
        for micro in examples.split(self.micro_batch_size):
            total += self._evaluated(micro.to(self.device))
        return self._whole(total).item()

    def pieces(self) -> Iterator[Piece]:
        """What this process has to write."""
        place = self.ranks.layout.place(self.ranks.rank)
        is_first = not any(place[axis] for axis in (*SUMMED, "tensor"))
        found = optimizer_state.pieces(self.model, self.optimizer, lambda _: is_first)
        return (one for one in found if not (self._has_copy and f"/{TABLE}" in one.name))

    def restore(self, found: Checkpoint) -> None:
        """Continue from a checkpoint, also one of another layout or engine."""
        optimizer_state.restore(found, self.model, self.optimizer, partial=True)

    def _prepare(self, examples: Examples, *, training: bool) -> None:
        for _, stage in self.stages:
            stage.train(training)
            stage.count = max(examples.count, 1)

    def _whole(self, loss: Tensor) -> Tensor:
        """The loss that the last ranks of all pipelines have parts of."""
        dist.all_reduce(loss, group=self.line.group)
        return self.ranks.sum_over_tokens(loss)

    def _clipped(self, limit: float) -> Tensor:
        weights = dict(self.model.named_parameters())
        layout = self.ranks.layout
        if layout.zero_stage == 0 and layout.tensor == 1:
            add_up_copies(self.model, self.ranks)
        tensor.settle(self.model)
        if self.line.ends is not None and TABLE in weights:
            add_up((weights[TABLE],), self.line.ends)
        own = (weight for name, weight in weights.items() if not (self._has_copy and name == TABLE))
        whole = square(own).to(self.device)
        dist.all_reduce(whole, group=self.line.group)
        norm = whole.sqrt()
        scale_down(weights.values(), norm, limit)
        return norm

    @property
    def _has_copy(self) -> bool:
        """Whether the table of the embedding is a copy of the first rank's."""
        return self.line.ends is not None and self.stages[0][0] != 0

    def _evaluated(self, micro: Examples) -> Tensor:
        """The loss of a micro-batch where this rank has the last piece; it goes through all pieces in turn."""
        last = self.ranks.layout.stages
        loss = torch.zeros((), device=self.device)
        for index, stage in self.stages:
            x = micro.ids
            if index:
                x = self.line.hidden(micro.ids)
                dist.recv(x, group=self.line.group, group_src=(index - 1) % self.line.group.size())
            made = stage(x, ids=micro.ids, targets=micro.targets, **micro.more)
            if index == len(last) - 1:
                loss += made.sum()
            else:
                dist.send(made, group=self.line.group, group_dst=(index + 1) % self.line.group.size())
        return loss

    def _schedule(self, examples: Examples) -> Any:
        """The schedule for batches like this one."""
        shape = tuple(examples.ids.shape)
        if shape not in self.schedules:
            count = -(-len(examples.ids) // self.micro_batch_size)
            if len(examples.ids) % self.micro_batch_size:
                raise RunError(
                    f"{len(examples.ids)} sequences do not divide into micro-batches of {self.micro_batch_size}"
                )
            ids = examples.ids[: self.micro_batch_size]
            self.schedules[shape] = _schedule(self.ranks.layout.schedule, [*self._staged(ids)], count)
        return self.schedules[shape]

    def _staged(self, ids: Tensor) -> Iterator[_PipelineStageBase]:
        """What PyTorch schedules: the pieces with what they take and give for these ids."""
        pieces = len(self.ranks.layout.stages)
        hidden, loss = self.line.hidden(ids).requires_grad_(), torch.empty(1, device=self.device, requires_grad=True)
        for index, stage in self.stages:
            takes, gives = hidden if index else ids, hidden if index < pieces - 1 else loss
            yield PipelineStage(stage, index, pieces, self.device, takes, gives, group=self.line.group)


def _schedule(name: str, stages: list[_PipelineStageBase], micro_batches: int) -> Any:
    if name == SCHEDULES[-1]:
        return ScheduleInterleaved1F1B(stages, micro_batches, loss_fn=_as_it_is, scale_grads=False)
    kind = ScheduleGPipe if name == "gpipe" else Schedule1F1B
    return kind(stages[0], micro_batches, loss_fn=_as_it_is, scale_grads=False)


def _as_it_is(loss: Tensor, _: Tensor) -> Tensor:
    """The last piece gives losses already, divided by the targets of the whole batch."""
    return loss.sum()


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> PipelineEngine:
    """The pieces of this rank, which are on meta until all that is elsewhere is gone."""
    settings, layout = recipe.settings, ranks.layout
    _refuse(settings, ranks)
    be_deterministic(place)
    torch.manual_seed(settings.seed)
    whole, rules = on_meta(recipe)
    assert ranks.mesh is not None, "a pipeline has several ranks"
    group = ranks.mesh["pipeline"].get_group()
    own = range(group.rank(), len(layout.stages), group.size())
    stages = tuple((index, _stage(recipe, ranks, index)) for index in own)
    for _, stage in stages:
        divide(stage, ranks, settings.activation_checkpointing, compiles=settings.compile)
        give_weights(stage.model, rules, settings.seed, place, base)
    model = united([stage.model for _, stage in stages])
    cast("Any", model).is_part = True
    optimizer = recipe.optimizer(model)
    by_mesh(optimizer)
    width = cast("nn.Embedding", whole.embedding).embedding_dim
    line = Line(group, _ends(ranks) if is_tied(whole) else None, width, layout.context)
    total = sum(weight.numel() for weight in whole.parameters())
    step = Step(model, settings.precision)
    common = engine_settings(settings, place)
    return PipelineEngine(step, optimizer, ranks=ranks, stages=stages, line=line, total=total, **common)


def _refuse(settings: Pretraining, ranks: Ranks) -> None:
    """RunError for what a pipeline cannot do, before it has begun."""
    layout = ranks.layout
    if settings.auxiliary_loss is not None:
        raise RunError("the auxiliary loss of experts is of all layers together, and a rank of a pipeline has some")
    if settings.precision == "fp16":
        raise RunError("a pipeline does not scale losses: it runs fp32 and bf16, and the plan says fp16")
    ends = [0, *(end for _, end in layout.stages)]
    if [first for first, _ in layout.stages] != ends[:-1] or len(layout.stages) % layout.pipeline:
        raise RunError(f"the pieces {layout.stages} are not those of a model on {layout.pipeline} ranks in turn")
    for size in {settings.global_batch_size, *(size for _, size in settings.batch_sizes)}:
        _refuse_schedule(layout, size // (ranks.data_size * settings.micro_batch_size))


def _refuse_schedule(layout: Layout, micro_batches: int) -> None:
    pieces, rounds = len(layout.stages), max(1, micro_batches // layout.pipeline)
    if layout.schedule not in SCHEDULES:
        raise RunError(f"a pipeline runs {' or '.join(SCHEDULES)}, and the plan says {layout.schedule}")
    if layout.schedule != SCHEDULES[-1] and pieces > layout.pipeline:
        raise RunError(f"the schedule {layout.schedule} has one piece a rank, and the plan {pieces // layout.pipeline}")
    if layout.schedule == "1f1b" and micro_batches < pieces:
        raise RunError(
            f"the schedule 1f1b needs a micro-batch for each of {pieces} pieces at least, and a step has "
            f"{micro_batches}; gpipe needs none"
        )
    if layout.schedule == SCHEDULES[-1] and micro_batches % rounds:
        raise RunError(f"{micro_batches} micro-batches do not divide into {rounds} rounds of {layout.schedule}")


def _stage(recipe: Recipe, ranks: Ranks, index: int) -> Stage:
    layout = ranks.layout
    model = piece(on_meta(recipe)[0], layout.stages, index)
    inbox = Inbox(model, lambda x: _received(x, ranks)) if index else None
    step = step_of(model, recipe.settings, ranks)
    return Stage(step, inbox, is_last=index == len(layout.stages) - 1)


def _received(x: Tensor, ranks: Ranks) -> Tensor:
    """What a piece takes in the place of its embedded ids: as these, of the whole sequence."""
    return within_whole(x, ranks) if ranks.layout.context > 1 else x


def _ends(ranks: Ranks) -> dist.ProcessGroup | None:
    """The first and the last rank of this process's pipeline, None between them. All processes make all groups."""
    assert ranks.mesh is not None, "a pipeline has several ranks"
    mine = None
    for line in ranks.mesh.mesh.flatten(1).T.tolist():
        group = dist.new_group([line[0], line[-1]])
        if ranks.rank in (line[0], line[-1]):
            mine = group
    return mine
