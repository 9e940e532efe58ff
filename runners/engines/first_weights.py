"""A model that is built on the meta device, and then gets what this process holds of it and no more."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from runners.checkpoint import MODEL, Checkpoint
from runners.checkpoint.placement import holding, local
from runners.errors import RunError
from runners.init import Rule, chosen_rules, draw_rectangle
from runners.recipe import Recipe


def on_meta(recipe: Recipe) -> tuple[nn.Module, dict[str, Rule]]:
    """The whole model without its numbers, and the rule of each weight; RunError for rules of another model."""
    with torch.device("meta"):
        model = recipe.model()
    return model, chosen_rules(model, recipe.initialisation)


@torch.no_grad()
def give_weights(
    model: nn.Module, rules: Mapping[str, Rule], seed: int, place: torch.device, base: Checkpoint | None = None
) -> None:
    """Allocate what this process holds of a model on meta, or of a part of one, and fill it.

    Weights are drawn by (seed, name, block), so that they are the same bits in every layout, or read from `base`.
    RunError when that is of another model.
    """
    model.to_empty(device=place)
    for buffer in model.buffers():
        buffer.zero_()  # counts and corrections, which all begin at nothing
    if base is not None:
        for name, tensor in model.state_dict().items():
            _read(tensor, base, name)
        return
    for name, weight in model.named_parameters():
        held, values = holding(weight), local(weight)
        for offset, part in held.parts:
            draw_rectangle(values[part], rules[name], seed, name, held.shape, offset)


def _read(tensor: Tensor, base: Checkpoint, name: str) -> None:
    held, values, key = holding(tensor), local(tensor), f"{MODEL}/{name}"
    if base.shape(key) != held.shape:
        raise RunError(
            f"{base.path} is of another model than this plan: `{name}` is of shape {base.shape(key)} there, "
            f"and {held.shape} here"
        )
    for offset, part in held.parts:
        values[part].copy_(base.read(key, offset, tuple(values[part].shape)))
