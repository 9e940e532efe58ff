"""Pieces of a generated decoder for a pipeline: the whole program, without the blocks and ends that lie elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from runners.engines.step import Step
from runners.errors import RunError
from runners.objective.examples import Examples

BEGINNING = ("embedding", "position_embedding", "embedding_norm")
"""What only the first piece needs. It also keeps these for the last one, whose head may be the embedding's table."""
END = ("norm", "lm_head")
TABLE = "embedding.weight"


class Inbox:
    """What comes from the piece before: the model reads it in the place of its embedded ids."""

    def __init__(self, model: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        """`change` makes what the first block reads of it."""
        self.x: Tensor | None = None
        cast("Any", model).embed = lambda *_: change(cast("Tensor", self.x))


class Stage(Step):
    """A piece as the pipeline calls it: ids or hidden states in, hidden states or the loss of a micro-batch out.

    Every piece gets the ids: masks by documents and prefixes are made from them, in each piece anew.
    """

    def __init__(self, step: Step, inbox: Inbox | None, *, is_last: bool) -> None:
        """Without an inbox it is the first piece."""
        super().__init__(step.model, step.precision, step.loss)
        self.inbox = inbox
        self.is_last = is_last
        self.count = 1
        """Targets of the whole batch."""

    def forward(  # type: ignore[override]
        self, x: Tensor, *, ids: Tensor, targets: Tensor, **more: Tensor
    ) -> Tensor:
        """Hidden states [B, T, D], or the sum of the losses divided by the targets of the whole batch, [1]."""
        if self.inbox is not None:
            self.inbox.x = x
        if self.is_last:
            return super().forward(Examples(ids, targets, self.count, more), 0.0)[0].reshape(1).clone()
        with self.autocast(ids.device):
            made: Tensor = cast("Any", self.model).hidden(ids, None, **more)
        return made


def piece(model: nn.Module, stages: Sequence[tuple[int, int]], index: int) -> nn.Module:
    """The model, in place, with what piece `index` needs. Names stay those of the whole model.

    RunError for a model whose parts have no place in a pipeline.
    """
    layers = cast("nn.ModuleList", model.layers) if hasattr(model, "hidden") else None
    unknown = [name for name, _ in model.named_children() if name not in ("layers", *BEGINNING, *END)]
    if layers is None or unknown:
        raise RunError(f"a pipeline is made of decoders, and does not know `{unknown[0] if unknown else 'this model'}`")
    if stages[-1][1] != len(layers):
        raise RunError(f"the pipeline has {stages[-1][1]} layers, and the model {len(layers)}: layers cannot be shared")
    first, end = stages[index]
    for name in list(layers._modules):
        if not first <= int(name) < end:
            del layers._modules[name]
    is_last = index == len(stages) - 1
    beginning = BEGINNING[1:] if is_last and is_tied(model) else BEGINNING
    for name in (*(beginning if index else ()), *(() if is_last else END)):
        model._modules.pop(name, None)
    return model


def is_tied(model: nn.Module) -> bool:
    """Whether the head is the table of the embedding."""
    head = getattr(model, "lm_head", None)
    return not any(name == "weight" for name, _ in head.named_parameters()) if head is not None else True


def united(pieces: Sequence[nn.Module]) -> nn.Module:
    """A model that shows the weights of all pieces of one rank by their names; it cannot be called."""
    if len(pieces) == 1:
        return pieces[0]
    whole = copy.copy(pieces[0])
    layers = nn.ModuleList()
    for one in pieces:
        layers._modules.update(cast("nn.ModuleList", one.layers)._modules)
    parts = {name: part for one in pieces for name, part in one._modules.items()}
    whole._modules = {**parts, "layers": layers}
    return whole
