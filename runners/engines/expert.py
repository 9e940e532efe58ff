"""An engine whose ranks hold different experts: copies of all other weights, or FSDP's parts of them.

An expert's gradient holds the tokens of all ranks that sent it some: it is summed over ranks with the same experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from runners.checkpoint import Checkpoint
from runners.engines import fsdp
from runners.engines.dispatch import COPIES, expert_mesh, experts_of, is_expert
from runners.engines.first_weights import give_weights, on_meta
from runners.engines.gradients import add_up, by_mesh, scale_down, square
from runners.engines.parts import step_of
from runners.engines.recompute import blocks, compile_blocks, recompute_activations
from runners.engines.spread import engine_settings
from runners.engines.step import Step
from runners.engines.torch_engine import be_deterministic
from runners.errors import RunError
from runners.ranks import Ranks
from runners.recipe import Recipe


@dataclass(frozen=True)
class ExpertEngine(fsdp.ShardedEngine):
    """Some of the experts, and what else this rank holds, with their optimizer."""

    @property
    def writes(self) -> bool:
        """A sequence is written by one rank, which has not all experts."""
        return False

    def _clipped(self, limit: float) -> Tensor:
        weights = list(self.model.parameters())
        if self.ranks.layout.zero_stage == 0:
            add_up_copies(self.model, self.ranks)
        norm = square(weights).sqrt().to(self.device)
        scale_down(weights, norm, limit)
        return norm


def add_up_copies(model: nn.Module, ranks: Ranks) -> None:
    """Sum the gradients of weights that several ranks hold copies of, and that saw other tokens."""
    experts = [weight for weight in model.parameters() if is_expert(weight)]
    add_up((weight for weight in model.parameters() if not is_expert(weight)), ranks.token_group())
    if experts:
        add_up(experts, expert_mesh(ranks)[COPIES].get_group())


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> ExpertEngine:
    """What this process holds of the model, which is on meta until it is divided."""
    settings = recipe.settings
    be_deterministic(place)
    torch.manual_seed(settings.seed)
    model, rules = on_meta(recipe)
    if not experts_of(model):
        raise RunError("the plan divides experts among ranks, and the model has none")
    step = step_of(model, settings, ranks)
    divide(step, ranks, settings.activation_checkpointing, compiles=settings.compile)
    give_weights(model, rules, settings.seed, place, base)
    optimizer = recipe.optimizer(model)
    by_mesh(optimizer)
    return ExpertEngine(step, optimizer, ranks=ranks, **engine_settings(settings, place))


def divide(step: Step, ranks: Ranks, recompute: str, *, compiles: bool) -> None:
    """Copies where ZeRO divides nothing; else FSDP, the experts each over the ranks that have the same ones."""
    layout = ranks.layout
    if layout.zero_stage == 0 and layout.tensor == 1:
        recompute_activations(blocks(step.model), recompute)
        if compiles:
            compile_blocks(blocks(step.model))
        return
    if layout.expert > 1:
        _shard_experts(step, ranks)
    fsdp.spread(step, ranks, recompute, compiles=compiles)


def _shard_experts(step: Step, ranks: Ranks) -> None:
    narrow = torch.bfloat16 if step.precision == "bf16" else None
    inside = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
    gathers = ranks.layout.zero_stage >= fsdp.GATHERS_WEIGHTS
    for experts in experts_of(step.model):
        fully_shard(experts, mesh=expert_mesh(ranks)[COPIES], reshard_after_forward=gathers, mp_policy=inside)
        assert isinstance(experts, FSDPModule)
        experts.set_gradient_divide_factor(1.0)
        experts.set_force_sum_reduction_for_comms(True)
