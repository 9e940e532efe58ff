"""The step of a rank that computes a part of each sequence, or some of the experts, of a model that is on meta."""

from __future__ import annotations

from torch import nn

from runners.engines.context import Loss, divide_sequences, of_own_part
from runners.engines.dispatch import divide_experts, expert_mesh
from runners.engines.step import Step
from runners.ranks import Ranks
from runners.recipe import Pretraining


def step_of(model: nn.Module, settings: Pretraining, ranks: Ranks) -> Step:
    """The model, changed in place as the layout says, with its objective; RunError where it cannot be divided so.

    To be called before tensor parallelism and FSDP take the model.
    """
    layout, auxiliary = ranks.layout, settings.auxiliary_loss
    loss: Loss = settings.loss
    if layout.context > 1:
        divide_sequences(model, ranks)
        loss = of_own_part(loss, ranks)
    if layout.expert > 1:
        divide_experts(model, expert_mesh(ranks), copies=layout.zero_stage == 0)
    if auxiliary is not None:
        # Each of the ranks that compute the same auxiliary loss adds its share: gradients are summed over them.
        auxiliary /= layout.context * layout.tensor
    return Step(model, settings.precision, loss, auxiliary)
