"""PyTorch's FSDP2 (Zhao et al. 2023, arXiv:2304.11277; ZeRO: Rajbhandari et al. 2020, arXiv:1910.02054).

What each rank holds at rest is its part of weights, gradients and optimizer states; blocks are gathered one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.parallel import loss_parallel

from runners.checkpoint import Checkpoint
from runners.engines import tensor
from runners.engines.first_weights import give_weights, on_meta
from runners.engines.parts import step_of
from runners.engines.recompute import blocks, compile_blocks, recompute_activations
from runners.engines.spread import SpreadEngine, engine_settings
from runners.engines.step import Step
from runners.engines.torch_engine import be_deterministic
from runners.objective.examples import Examples
from runners.objective.token_loss import PLAIN
from runners.ranks import Ranks
from runners.recipe import Pretraining, Recipe

GATHERS_WEIGHTS, DIVIDES_GRADIENTS = 3, 2
"""ZeRO stages from which on weights are gathered for each pass, and gradients kept in parts."""


@dataclass(frozen=True)
class ShardedEngine(SpreadEngine):
    """Processes that hold parts of the weights, divided over data-parallel ranks, tensor ranks or both."""

    @property
    def writes(self) -> bool:
        """Where tensor ranks hold some heads, no cache of keys and values has the right size."""
        return super().writes and self.ranks.layout.tensor == 1

    @contextmanager
    def _around_model(self) -> Iterator[None]:
        """Around calls of the model itself, and not of a step: the weights outside its blocks are whole."""
        assert isinstance(self.step, FSDPModule)
        self.step.unshard()
        try:
            with super().autocast():
                yield
        finally:
            self._let_go()

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic of the forward pass, and what the model needs to be called by itself."""
        return self._around_model() if isinstance(self.step, FSDPModule) else super().autocast()

    def validation_loss(self, examples: Examples) -> float:
        """Mean loss over the targets of a batch, nats per token."""
        try:
            with self._dividing_loss():
                return super().validation_loss(examples)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Hold parts alone again: after a forward pass that no backward pass follows, some weights are still whole."""
        for module in self.step.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def _dividing_loss(self) -> AbstractContextManager[Any]:
        """Around a cross-entropy of logits that are divided along the vocabulary, and its gradient."""
        return loss_parallel() if self.ranks.layout.tensor > 1 else nullcontext()

    @contextmanager
    def _reducing(self, *, last: bool) -> Iterator[None]:
        if isinstance(self.step, FSDPModule):
            stage = self.ranks.layout.zero_stage
            self.step.set_is_last_backward(last)
            # Whole gradients are summed once; divided ones after each micro-batch, or they would be whole in between.
            self.step.set_requires_gradient_sync(last or stage >= DIVIDES_GRADIENTS)
            self.step.set_requires_all_reduce(last)
            self.step.set_reshard_after_backward(last or stage >= GATHERS_WEIGHTS)
        with self._dividing_loss():
            yield

    def _clipped(self, limit: float) -> Tensor:
        tensor.settle(self.model)
        return super()._clipped(limit)


def build(recipe: Recipe, ranks: Ranks, place: torch.device, base: Checkpoint | None) -> ShardedEngine:
    """The part that this process has of the model, which is never whole anywhere."""
    settings = recipe.settings
    be_deterministic(place)
    torch.manual_seed(settings.seed)
    model, rules = on_meta(recipe)
    step = step_of(model, settings, ranks)
    divided = ranks.layout.tensor > 1 and _is_plain(settings)
    if divided:
        step.loss = tensor.of_divided_logits(step.loss)
    spread(step, ranks, settings.activation_checkpointing, compiles=settings.compile, logits_divided=divided)
    give_weights(model, rules, settings.seed, place, base)
    return ShardedEngine(step, recipe.optimizer(model), ranks=ranks, **engine_settings(settings, place))


def spread(
    step: Step, ranks: Ranks, recompute: str = "none", *, compiles: bool = False, logits_divided: bool = False
) -> None:
    """Divide a model on meta as the layout says: tensor parallelism inside, FSDP around it."""
    assert ranks.mesh is not None, "a layout of one process spreads nothing"
    model = step.model
    if ranks.layout.tensor > 1:
        # Context ranks divide the heads further, and know which ones these are.
        layout = ranks.layout
        by_head = () if layout.context > 1 and not layout.is_ring else layout.by_head
        kept = replace(layout, by_head=by_head)
        tensor.divide(model, ranks.mesh["tensor"], kept, logits_divided=logits_divided)
    recompute_activations(blocks(model), recompute)
    if compiles:
        compile_blocks(blocks(model))
    if ranks.data_size * ranks.layout.context > 1:
        shard(step, blocks(model), ranks)


def _is_plain(settings: Pretraining) -> bool:
    """Whether the loss is the cross-entropy and nothing else: PyTorch has no other one for divided logits."""
    return settings.token_loss == PLAIN


def shard(step: Step, layers: list[nn.Module], ranks: Ranks) -> None:
    """Divide the weights of each of the layers, and of what is around them, over the data-parallel ranks."""
    gathers = ranks.layout.zero_stage >= GATHERS_WEIGHTS
    mesh = _mesh(ranks)
    narrow = torch.bfloat16 if step.precision == "bf16" else None
    # Autocast would narrow the weights of matrix products too: here they are gathered narrow. What is outside the
    # blocks is gathered in fp32, because the sum that starts with the embedding is fp32 in one process as well.
    inside = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32, cast_forward_inputs=False)
    around = MixedPrecisionPolicy(cast_forward_inputs=False)
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=gathers, mp_policy=inside)
    fully_shard(step, mesh=mesh, reshard_after_forward=False, mp_policy=around)
    for module in (*layers, step):
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)


def _mesh(ranks: Ranks) -> DeviceMesh:
    """Ranks that divide among them, and outside them those that hold the same."""
    mesh, layout = ranks.mesh, ranks.layout
    assert mesh is not None, "one process has no mesh"
    name = "shard"
    if layout.context > 1:
        name = "divided"
        mesh["shard", "context"]._flatten(name)
    if layout.tensor > 1:
        mesh[name, "tensor"]._flatten("parts")  # what norms are summed over, in one go
    return mesh[name] if layout.replicate == 1 else mesh["replicate", name]
