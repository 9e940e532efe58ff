"""A moving average of the weights beside any engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, cast

import torch
from torch import Tensor

from runners.checkpoint import Checkpoint, Piece
from runners.checkpoint.piece import EMA, MODEL
from runners.engines.engine import Engine
from runners.objective.examples import Examples
from runners.shards import here


@dataclass(frozen=True)
class Ema:
    """How weights are averaged (Polyak and Juditsky 1992, doi:10.1137/0330046)."""

    decay: float
    """What is left of the average at an update."""
    every: int = 1
    """Steps between updates."""

    def share(self, updates: int) -> float:
        """Of the newest weights in the average after so many updates: all of the first, 1 - decay after many.

        The average of n weights w_1 .. w_n is sum decay^(n - i) w_i / sum decay^(n - i): the bias correction of Adam
        (Kingma and Ba 2015, arXiv:1412.6980, section 3). The weights that were drawn never count.
        """
        return (1.0 - self.decay) / -math.expm1(updates * math.log(self.decay))


class Averaged:
    """An engine that keeps, of every weight that this process writes, the average in fp32.

    It is another set of pieces, `ema/NAME`: what is divided over processes is averaged where it lies, and each element
    once. Everything else is the engine's own.
    """

    def __init__(self, engine: Engine, ema: Ema) -> None:
        self.engine, self.ema, self.steps = engine, ema, 0
        self.averages = tuple(_average(piece) for piece in self._weights())

    def __getattr__(self, name: str) -> Any:
        """What the engine has."""
        return getattr(self.engine, name)

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        """Apply the gradients, and let the average follow."""
        self.engine.update(learning_rate)
        self.steps += 1
        if self.steps % self.ema.every == 0:
            share = self.ema.share(self.steps // self.ema.every)
            for average, weight in self._pairs():
                average.lerp_(weight.to(average), share)

    def pieces(self) -> Iterator[Piece]:
        """Those of the engine, and the averages."""
        yield from self.engine.pieces()
        yield from self.averages

    def restore(self, found: Checkpoint) -> None:
        """Continue from a checkpoint; RunError when it holds no average."""
        self.engine.restore(found)
        self.steps = found.step
        for average in self.averages:
            count = average.tensor.numel()
            if isinstance(average.offset, int):
                saved = found.read_flat(average.name, average.offset, average.offset + count)
            else:
                saved = found.read(average.name, average.offset, tuple(average.tensor.shape))
            average.tensor.copy_(saved)

    @property
    def can_be_scored(self) -> bool:
        """Whether every process has the average of all that it computes with; the same on every process."""
        places = {here(weight).untyped_storage().data_ptr() for weight in self.engine.model.parameters()}
        views = [p.tensor for p in self._weights() if p.tensor.untyped_storage().data_ptr() in places]
        held = sum(here(weight).numel() for weight in self.engine.model.parameters())
        missing = sum(view.numel() for view in views) != held
        return not self.engine.ranks.agree(missing)

    def averaged_loss(self, examples: Examples) -> float:
        """Mean loss of the averaged weights over the targets of a batch, nats per token."""
        with self._exchanged():
            return self.engine.validation_loss(examples)

    @contextmanager
    def _exchanged(self) -> Iterator[None]:
        """The average in the place of the weights, whose bits come back."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, weight in self._pairs():
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        for average, weight in zip(self.averages, self._weights(), strict=True):
            yield average.tensor, weight.tensor

    def _weights(self) -> Iterator[Piece]:
        """Pieces of the weights: an engine gives them before those of its optimizer."""
        pieces = takewhile(lambda piece: piece.group == MODEL, self.engine.pieces())
        return (piece for piece in pieces if piece.tensor.is_floating_point())


def averaged(engine: Engine, ema: Ema | None) -> Engine:
    """The engine with the average that a stage asks for."""
    return engine if ema is None else cast("Engine", Averaged(engine, ema))


def _average(piece: Piece) -> Piece:
    name = f"{EMA}/{piece.name.removeprefix(f'{MODEL}/')}"
    return replace(piece, name=name, tensor=piece.tensor.detach().to(torch.float32, copy=True))
