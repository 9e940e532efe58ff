"""What DeepSpeed is given: a model without values, and the program's optimizer.

Stage 3 builds it in `zero.Init`, which divides each weight as soon as it is there. Below, it is built on the meta
device and gets memory in the type that it is computed with. In both it has no values: those are drawn afterwards, by
each rank for what it owns. `zero.Init` is told the configuration alone: its `dtype` argument means 16 bits on a CPU
without fp16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from runners.checkpoint.geometry import Sizes
from runners.engines.deepspeed_package import in_group
from runners.engines.recompute import blocks, recompute_activations
from runners.engines.step import Step
from runners.errors import RunError
from runners.init import choose, draw
from runners.lion import Lion
from runners.ranks import Ranks
from runners.recipe import Recipe

_ELEMENTWISE = (torch.optim.AdamW, Lion)
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Whole:
    """What is known of the whole model, none of which is there."""

    recipe: Recipe
    shapes: Mapping[str, Sizes]
    """Of its weights by name."""

    @property
    def parameters(self) -> int:
        """Their number."""
        return sum(prod(shape) for shape in self.shapes.values())

    def draw(self, name: str, offset: int | Sizes, size: int | Sizes) -> Tensor:
        """First values of any part of a weight; what other ranks own is not drawn, but for the rest of its rows."""
        rules, seed, shape = self.recipe.initialisation, self.recipe.settings.seed, self.shapes[name]
        rule = rules[choose([pattern for pattern, _ in rules], name)][1]
        if isinstance(offset, int):
            assert isinstance(size, int)
            return draw(rule, seed, name, offset, offset + size, prod(shape))
        assert not isinstance(size, int)
        row = prod(shape[1:])
        rows = draw(rule, seed, name, offset[0] * row, (offset[0] + size[0]) * row, prod(shape))
        inside = tuple(slice(first, first + length) for first, length in zip(offset[1:], size[1:], strict=True))
        return rows.view(size[0], *shape[1:])[(slice(None), *inside)]


def whole(recipe: Recipe) -> Whole:
    """The model of a recipe, by its shapes."""
    with torch.device("meta"):
        return Whole(recipe, {name: tuple(weight.shape) for name, weight in recipe.model().named_parameters()})


def empty(recipe: Recipe, ranks: Ranks, place: torch.device, config: dict[str, Any]) -> nn.Module:
    """The model without values; at stage 3 each rank has its part of each weight."""
    _own_heads(recipe, ranks)
    if config["zero_optimization"]["stage"] == 3:
        with in_group().zero.Init(config_dict_or_path=config):
            return recipe.model()
    with torch.device("meta"):
        model = recipe.model()
    return with_memory(model, recipe, place)


def with_memory(model: nn.Module, recipe: Recipe, place: torch.device) -> nn.Module:
    """A model of the meta device with memory on another, in the type that it is computed with."""
    return model.to(_TYPES[recipe.settings.precision]).to_empty(device=place)


def step_of(recipe: Recipe, model: nn.Module) -> Step:
    """The step around a model, without autocast: the weights themselves are in 16 bits where the precision says so."""
    settings = recipe.settings
    recompute_activations(blocks(model), settings.activation_checkpointing)
    return Step(model, "fp32", settings.loss, settings.auxiliary_loss)


def optimizer_of(recipe: Recipe, shapes: Mapping[str, Sizes], model: nn.Module) -> torch.optim.Optimizer:
    """The program's optimizer over the weights of a model that may be divided.

    The program sorts weights into groups by their names and shapes. In ZeRO-3 a matrix has no shape of its own, and
    would count as a vector; so it sees weights of the whole shapes that take no memory, and the real ones take their
    place. RunError for an optimizer that is several.
    """
    stand_in = _stand_in(shapes)
    made: Any = recipe.optimizer(stand_in)
    parts = getattr(made, "parts", (made,))
    if len(parts) != 1:
        raise RunError("DeepSpeed steps one optimizer, and the rules of this plan make several")
    if not isinstance(parts[0], _ELEMENTWISE):
        raise RunError(f"{type(parts[0]).__name__} reads more than single elements, and DeepSpeed steps flat weights")
    own = dict(model.named_parameters())
    names = {id(weight): name for name, weight in stand_in.named_parameters()}
    for group in parts[0].param_groups:
        group["params"] = [own[names[id(weight)]] for weight in group["params"] if names[id(weight)] in own]
    found: torch.optim.Optimizer = parts[0]
    return found


def _own_heads(recipe: Recipe, ranks: Ranks) -> None:
    """Let functions that give one value a head give those of this rank's heads."""
    size, index = ranks.layout.tensor, ranks.layout.place(ranks.rank)["tensor"]
    functions = recipe.model.__init__.__globals__
    for name in ranks.layout.by_head if size > 1 else ():
        functions[name] = _part_of(functions[name], size, index)


def _part_of(function: Callable[..., Tensor], size: int, index: int) -> Callable[..., Tensor]:
    return lambda *arguments: function(*arguments).chunk(size)[index]


def _stand_in(shapes: Mapping[str, Sizes]) -> nn.Module:
    """Modules with weights of these names and shapes, one element each."""
    root = nn.Module()
    for name, shape in shapes.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        module.register_parameter(last, nn.Parameter(torch.zeros(()).expand(shape)))
    return root
