"""Trainings of the tiny experiment by an engine, on the ranks of one group, and what each rank saw."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runners import checkpoint, engines
from runners.checkpoint.placement import holding, local
from runners.engines.engine import Engine
from runners.layout import Layout
from runners.ranks import Ranks, join, leave
from tests.engines.reference import LEARNING_RATE, ROWS, STEPS, batch, recipe, rows_of

Place = tuple[str, tuple[int, ...], tuple[int, ...]]
"""A rectangle of a weight: name, first index, size."""


@dataclass(frozen=True)
class Case:
    """One training."""

    layout: Layout
    accumulation: int = 1
    """Micro-batches of each rank a step."""
    steps: int = STEPS
    settings: dict[str, Any] = field(default_factory=dict)
    resumes: str | None = None
    """Folder of a run whose last checkpoint it continues from, to `steps` in all."""
    saves: tuple[str, int] | None = None
    """Folder of a run and the step after which a checkpoint is written there."""
    dies: int | None = None
    """Step after which each rank is killed, as `kill -9` does."""


@dataclass(frozen=True)
class Seen:
    """What one rank saw of a training."""

    losses: list[float]
    norms: list[float]
    validation: float
    began: dict[Place, str]
    """SHA-256 of the first weights that it holds."""
    ended: dict[Place, str]
    """And of the last ones."""


def train(plan: str, cases: list[Case]) -> list[Seen]:
    """One training after the other, on this rank."""
    seen = []
    for case in cases:
        ranks = join(case.layout)
        seen.append(_train(Path(plan), case, ranks))
    leave(ranks)
    return seen


def built(plan: Path, case: Case, ranks: Ranks) -> Engine:
    """The engine of a case."""
    micro = ROWS // ranks.data_size // case.accumulation
    settings = {
        "micro_batch_size": micro,
        "gradient_accumulation_steps": case.accumulation,
        "layout": case.layout,
        **case.settings,
    }
    made = recipe(plan, **settings)
    engines.refuse_unsupported(made.settings, ranks)
    return engines.build(made, ranks, torch.device("cpu"), None)


def _train(plan: Path, case: Case, ranks: Ranks) -> Seen:
    engine = built(plan, case, ranks)
    began, first = digests(engine.model), 0
    if case.resumes is not None:
        found, _ = checkpoint.latest(Path(case.resumes), ranks)
        assert found is not None
        engine.restore(found)
        first = found.step
    losses, norms = [], []
    for step in range(first, case.steps):
        loss, norm = engine.gradients(rows_of(batch(step), ranks.data_rank, ranks.data_size))
        engine.update(LEARNING_RATE)
        losses.append(loss)
        norms.append(norm)
        if case.saves is not None and step + 1 == case.saves[1]:
            pieces, scalars, keep = engine.pieces(), engine.scalars(), checkpoint.Keep(2)
            checkpoint.save(Path(case.saves[0]), step + 1, 0, 0.0, pieces, scalars, keep, ranks)
        if step + 1 == case.dies:
            os.kill(os.getpid(), signal.SIGKILL)
    validation = engine.validation_loss(rows_of(batch(10_000), ranks.data_rank, ranks.data_size))
    return Seen(losses, norms, validation, began, digests(engine.model))


def digests(model: nn.Module) -> dict[Place, str]:
    """Of each rectangle of a weight that this rank holds."""
    found = {}
    for name, weight in model.named_parameters():
        held, values = holding(weight), local(weight.detach())
        for offset, part in held.parts:
            piece = values[part].contiguous()
            found[name, offset, tuple(piece.shape)] = hashlib.sha256(piece.numpy().tobytes()).hexdigest()
    return {place: digest for place, digest in found.items() if prod(place[2])}
