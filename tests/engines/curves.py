"""What ranks say of a training by an engine, and what has to be true of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runners import checkpoint
from runners.checkpoint.placement import holding, local
from runners.engines import build
from runners.engines.engine import Engine
from runners.init import initialise
from runners.layout import Layout
from runners.objective.examples import Examples, training_examples
from runners.ranks import Ranks, join, leave
from runners.recipe import Recipe
from tests.engines import reference
from tests.engines.ranks import on_ranks
from tests.engines.reference import LEARNING_RATE, LOSS_TOLERANCE, MAX_GRAD_NORM, NORM_TOLERANCE, ROWS, STEPS, Curve

CPU = torch.device("cpu")
HELD_OUT = 10_000
"""The step whose batch no training reads."""
Hashes = dict[tuple[str, str], str]
"""Of what a rank holds, by the name of a weight and the place in it."""


@dataclass(frozen=True)
class Said:
    """Of one rank."""

    losses: list[float]
    norms: list[float]
    validation: float
    weights: Hashes
    written: list[str]
    """Names and places of what it would write."""


@dataclass(frozen=True)
class Saving:
    """When a training is saved, and whether it goes on from what is there."""

    folder: Path
    at: int | None = None
    resume: bool = False


def train(plan: Path, layout: Layout, settings: dict[str, Any], steps: int, saving: Saving | None = None) -> Said:
    """The training on this rank; it joins and leaves the others."""
    ranks = join(layout)
    recipe = reference.recipe(plan, layout=layout, **settings)
    engine = build(recipe, ranks, CPU, None)
    first = 0
    if saving is not None and saving.resume:
        found, _ = checkpoint.latest(saving.folder, ranks)
        assert found is not None
        engine.restore(found)
        first = found.step
    losses, norms = [], []
    for step in range(first, steps):
        loss, norm = engine.gradients(rows_of(recipe, step, ranks))
        engine.update(LEARNING_RATE)
        losses.append(loss)
        norms.append(norm)
        if saving is not None and saving.at == step + 1:
            save(engine, saving.folder, step + 1, ranks)
    validation = engine.validation_loss(rows_of(recipe, HELD_OUT, ranks))
    written = [f"{piece.name} {piece.offset}" for piece in engine.pieces()]
    said = Said(losses, norms, validation, _hashes(engine), written)
    leave(ranks)
    return said


def batch(recipe: Recipe, step: int) -> Examples:
    """Examples of a step: tokens as in `reference`, with ends of documents among them where the model knows of such."""
    ids = reference.batch(step)
    end = recipe.model.forward.__globals__.get("END")
    drawn = ids if end is None else torch.where(ids % 8 == 3, end, ids)
    objective = recipe.settings.objective
    return training_examples(objective, drawn, 0, step * ROWS)


def rows_of(recipe: Recipe, step: int, ranks: Ranks) -> Examples:
    """What one data-parallel rank reads of it."""
    return batch(recipe, step).part(ranks.data_rank, ranks.data_size)


def plain_curve(plan: Path, steps: int, micro: int = ROWS, *, bf16: bool = False) -> Curve:
    """The same training in one process by a loop of its own, `torch.optim.AdamW` and no engine.

    In micro-batches: an auxiliary loss is one of a micro-batch. In fp64 but for what the program itself has in fp32
    (norms), so that what is measured is the rounding of the engine, and little of that of its judge. From fp32 weights.
    """
    made = reference.recipe(plan)
    model: Any = made.model()
    initialise(model, made.initialisation, made.settings.seed)
    if not bf16:
        model.double()
    # Vectors do not decay, nor do several of them in one tensor: biases of experts, norms of each head.
    stacked = ("_bias", "_norm.weight")
    matrices = [weight for name, weight in model.named_parameters() if weight.dim() > 1 and not name.endswith(stacked)]
    vectors = [weight for name, weight in model.named_parameters() if weight.dim() < 2 or name.endswith(stacked)]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for step in range(steps):
        optimizer.zero_grad()
        total = 0.0
        for rows in batch(made, step).split(micro):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = mean_loss(model, rows)
            total += loss.item()
            if made.settings.auxiliary_loss is not None:
                loss = loss + made.settings.auxiliary_loss * len(rows.ids) / ROWS * model.auxiliary_loss()
            torch.autograd.backward(loss)
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM).item())
        optimizer.step()
        if made.settings.after_step:
            model.after_step()
        losses.append(total)
    model.eval()
    with torch.no_grad():
        validation = mean_loss(model, batch(made, HELD_OUT)).item()
    return Curve(losses, norms, {name: weight.detach() for name, weight in model.named_parameters()}, validation)


def mean_loss(model: nn.Module, examples: Examples) -> Tensor:
    """The part of the batch's loss, nats per target of the batch."""
    logits = model(examples.ids, **examples.more)
    return F.cross_entropy(logits.double().flatten(0, 1), examples.targets.flatten(), reduction="sum") / examples.count


def save(engine: Engine, folder: Path, step: int, ranks: Ranks) -> None:
    checkpoint.save(folder, step, 0, 0.0, engine.pieces(), engine.scalars(), checkpoint.Keep(last=1), ranks)


def check(plan: Path, want: Curve, layout: Layout, steps: int = STEPS, **settings: Any) -> list[Said]:
    """Train with a layout, and compare with the curve of plain PyTorch: losses, norms, and copies with each other."""
    said = on_ranks(layout.processes, train, plan, layout, settings, steps)
    for one in said:
        assert largest(one.losses, want.losses) <= LOSS_TOLERANCE
        assert largest(one.norms, want.norms) <= NORM_TOLERANCE
        assert min(one.norms) > MAX_GRAD_NORM, "clipping is active in every step"
        assert abs(one.validation - want.validation) <= LOSS_TOLERANCE
    copies: dict[tuple[str, str], set[str]] = {}
    for one in said:
        for place, digest in one.weights.items():
            copies.setdefault(place, set()).add(digest)
    assert all(len(digests) == 1 for digests in copies.values())
    written = [name for one in said for name in one.written]
    assert len(written) == len(set(written)), "each part is written by one rank"
    assert {name.split()[0] for name in written if name.startswith("model/")} >= {
        f"model/{name}" for name in want.weights
    }
    return said


def named(value: object) -> str:
    """A layout in the name of a test: what it says that one process does not."""
    if not isinstance(value, Layout):
        return str(value)
    said = {one.name: getattr(value, one.name) for one in fields(Layout) if getattr(value, one.name) != one.default}
    said["stages"] = len(said.get("stages", ())) or None
    words = [f"{name}={one}" for name, one in said.items() if name not in ("splits", "by_head") and one is not None]
    return ",".join(words) or "one"


def largest(ours: list[float], theirs: list[float]) -> float:
    """Difference of two curves of one length."""
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def _hashes(engine: Engine) -> Hashes:
    found = {}
    for name, weight in engine.model.named_parameters():
        for offset, slices in holding(weight).parts:
            part = local(weight.detach())[slices]
            found[name, f"{offset} {tuple(part.shape)}"] = sha256(part.contiguous().numpy().tobytes()).hexdigest()
    return found


def resumed(folder: Path, plan: Path, before: Layout, after: Layout, **settings: Any) -> tuple[list[Said], list[Said]]:
    """A training of six steps that is saved after three, and the last three from there with another layout."""
    whole = on_ranks(before.processes, train, plan, before, settings, 6, Saving(folder, at=3))
    return whole, on_ranks(after.processes, train, plan, after, settings, 6, Saving(folder, resume=True))
