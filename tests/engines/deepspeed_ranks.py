"""What ranks of the tests of DeepSpeed do; functions of a module, because they are sent to processes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from runners import checkpoint
from runners.engines import deepspeed as whole_models
from runners.engines import deepspeed_pipeline as pipelines
from runners.engines import torch_engine
from runners.engines.deepspeed_package import in_group
from runners.engines.engine import Engine
from runners.layout import Layout
from runners.ranks import ALONE, Ranks, join, leave
from tests.engines import reference

KEEP = checkpoint.Keep(last=2)


def train(
    plan: str, layout: Layout, steps: int, save_at: int | None = None, resume: str | None = None, run: str = ""
) -> dict[str, Any]:
    """Losses and norms by step, the validation loss, a hash of all weights, and where a checkpoint was written."""
    torch.set_num_threads(1)
    ranks = join(layout)
    engine = built(plan, layout, ranks)
    first = 0
    if resume is not None:
        found, _ = checkpoint.latest(Path(resume))
        assert found is not None
        engine.restore(found)
        first = found.step
    losses, norms = [], []
    rows = reference.rows_of(reference.batch(10_000), ranks.data_rank, ranks.data_size)
    for step in range(first, steps):
        if step == first + 1:
            engine.validation_loss(rows)  # changes nothing
        loss, norm = engine.gradients(reference.rows_of(reference.batch(step), ranks.data_rank, ranks.data_size))
        engine.update(reference.LEARNING_RATE)
        losses.append(loss)
        norms.append(norm)
        if save_at == step + 1:
            saved(engine, Path(run), save_at, ranks)
    said = {
        "losses": losses,
        "norms": norms,
        "validation": engine.validation_loss(rows),
        "weights": digest(engine),
        "parameters": engine.parameters,
    }
    leave(ranks)
    return said


def skip(plan: str, layout: Layout, steps: int) -> dict[str, Any]:
    """As `train`, where the gradients of other batches are computed before each step and not applied."""
    torch.set_num_threads(1)
    ranks = join(layout)
    engine = built(plan, layout, ranks)
    losses, norms = [], []
    for step in range(steps):
        engine.gradients(reference.rows_of(reference.batch(500 + step), ranks.data_rank, ranks.data_size))
        loss, norm = engine.gradients(reference.rows_of(reference.batch(step), ranks.data_rank, ranks.data_size))
        engine.update(reference.LEARNING_RATE)
        losses.append(loss)
        norms.append(norm)
    leave(ranks)
    return {"losses": losses, "norms": norms}


def first_weights(plan: str, layout: Layout) -> dict[str, str]:
    """Hashes of the weights before the first step."""
    torch.set_num_threads(1)
    ranks = join(layout)
    found = digest(built(plan, layout, ranks))
    leave(ranks)
    return found


def continue_alone(plan: str, resume: str, steps: int) -> list[float]:
    """Losses of PyTorch's own engine in one process, from a checkpoint of DeepSpeed on."""
    engine = _alone(plan)
    found, _ = checkpoint.latest(Path(resume))
    assert found is not None
    engine.restore(found)
    return [_step(engine, step) for step in range(found.step, steps)]


def save_alone(plan: str, run: str, steps: int) -> None:
    """A checkpoint of PyTorch's own engine after so many steps."""
    engine = _alone(plan)
    for step in range(steps):
        _step(engine, step)
    saved(engine, Path(run), steps, ALONE)


def _alone(plan: str) -> Engine:
    torch.set_num_threads(1)
    recipe = reference.recipe(
        Path(plan), engine="torch", micro_batch_size=8, gradient_accumulation_steps=1, layout=None
    )
    return torch_engine.build(recipe, ALONE, torch.device("cpu"), None)


def _step(engine: Engine, step: int) -> float:
    loss, _ = engine.gradients(reference.rows_of(reference.batch(step), 0, 1))
    engine.update(reference.LEARNING_RATE)
    return loss


def built(plan: str, layout: Layout, ranks: Ranks, **settings: Any) -> Engine:
    """The engine of a plan, laid out so."""
    recipe = reference.recipe(Path(plan), **settings)
    config = json.loads((Path(plan) / "deepspeed/pretrain.json").read_text())
    settings = {
        "layout": layout,
        "engine_config": "deepspeed/pretrain.json",
        "micro_batch_size": config["train_micro_batch_size_per_gpu"],
        "gradient_accumulation_steps": config["gradient_accumulation_steps"],
    }
    recipe = replace(recipe, settings=replace(recipe.settings, **settings))
    module = pipelines if layout.pipeline > 1 else whole_models
    return module.build(recipe, ranks, torch.device("cpu"), None)


def saved(engine: Engine, run: Path, step: int, ranks: Ranks) -> None:
    """Write a checkpoint."""
    group = ranks if ranks.size > 1 else None
    checkpoint.save(run, step, 0, 0.0, engine.pieces(), engine.scalars(), KEEP, group)


def digest(engine: Engine) -> dict[str, str]:
    """SHA-256 of each weight that the model computes with, whole where ZeRO-3 divides it."""
    found = {}
    for name, weight in engine.model.named_parameters():
        with in_group().zero.GatheredParameters([weight]):
            found[name] = hashlib.sha256(weight.detach().float().numpy().tobytes()).hexdigest()
    return found
