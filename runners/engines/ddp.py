"""PyTorch's DistributedDataParallel (Li et al. 2020, arXiv:2006.15704): every process has a copy of everything."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from runners.checkpoint import Checkpoint
from runners.engines.first_weights import give_weights, on_meta
from runners.engines.parts import step_of
from runners.engines.recompute import blocks, compile_blocks, recompute_activations
from runners.engines.spread import SpreadEngine, engine_settings
from runners.engines.torch_engine import be_deterministic
from runners.ranks import Ranks
from runners.recipe import Recipe


@dataclass(frozen=True)
class CopiesEngine(SpreadEngine):
    """Processes that hold the same and read other sequences."""

    def _reducing(self, *, last: bool) -> AbstractContextManager[Any]:
        assert isinstance(self.wrapped, DistributedDataParallel)
        return nullcontext() if last else self.wrapped.no_sync()


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> CopiesEngine:
    """A copy of the model for this process; each draws or reads its own, the same bits."""
    settings = recipe.settings
    be_deterministic(place)
    torch.manual_seed(settings.seed)
    model, rules = on_meta(recipe)
    step = step_of(model, settings, ranks)
    give_weights(model, rules, settings.seed, place, base)
    recompute_activations(blocks(model), settings.activation_checkpointing)
    if settings.compile:
        compile_blocks(blocks(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of a name that newer versions have for `broadcast_buffers`
        # Nothing is sent at the start, or before a forward pass: counts of tokens are each process's own.
        wrapped = DistributedDataParallel(
            step,
            process_group=ranks.token_group(),
            init_sync=False,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
        )
    # A lambda, because DDP reads annotations and wants none that are text.
    wrapped.register_comm_hook(ranks.token_group(), lambda group, bucket: _added_up(group, bucket))
    return CopiesEngine(step, recipe.optimizer(model), ranks=ranks, wrapped=wrapped, **engine_settings(settings, place))


def _added_up(group: dist.ProcessGroup, bucket: Any) -> torch.futures.Future[Tensor]:
    """Gradients of a bucket summed over processes: DDP of itself would divide them by their number."""
    work = dist.all_reduce(bucket.buffer(), group=group, async_op=True)
    summed: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return summed
