"""A tiny experiment, and its training by plain PyTorch in one process: what every engine is held against."""

from __future__ import annotations

import dataclasses
import importlib.util
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runners.init import initialise
from runners.objective.examples import Examples, next_token
from runners.pretrain import Pretraining, Recipe
from tests import compiling

ROWS, LENGTH, STEPS = 8, 32, 50
"""Sequences of a global batch, tokens of a sequence, steps of the optimizer."""
LEARNING_RATE, MAX_GRAD_NORM = 1e-3, 0.5
LOSS_TOLERANCE, NORM_TOLERANCE = 5e-6, 1e-5
"""Nats per token, and of the gradient's norm, over fp32 steps: sums in another order, and nothing else."""

SMALL = (
    "model.num_layers=4",
    "model.pad_vocab_size_multiple=8",
    f"model.context_length={LENGTH}",
    f"stages.pretrain.global_batch_size={ROWS} sequences",
    "stages.pretrain.optimizer.weight_decay=0.1",
    f"stages.pretrain.max_grad_norm={MAX_GRAD_NORM}",
)
"""Four layers, width 64, four query heads, two for keys and values. Clipping is always active: the norm is about 1."""
VARIANTS = {
    "rope": ("model.tie_embeddings=false",),
    "alibi": ("model.position={kind: alibi}",),  # tied
}


@dataclass(frozen=True)
class Curve:
    """What a training said, by step, and what it ended with."""

    losses: list[float]
    """Nats per token."""
    norms: list[float]
    """Of the gradient before clipping."""
    weights: dict[str, Tensor]
    validation: float
    """Nats per token, after the last step."""


def compiled(folder: Path, *sets: str) -> Path:
    """A folder with the generated `model.py` and `train.py` of the tiny spec with overrides."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = compiling.files(compiling.planned(*SMALL, *sets))
    for name in ("model.py", "train.py"):
        (folder / name).write_text(texts[name], encoding="utf-8")
    return folder


def recipe(plan: Path, **settings: Any) -> Recipe:
    """What the generated program in `plan` hands to the runners, some settings replaced."""
    sys.modules["model"] = _module(plan / "model.py")
    try:
        made = runpy.run_path(str(plan / "train.py"), run_name="train")
    finally:
        del sys.modules["model"]
    pretraining: Pretraining = made["PRETRAINING"]
    changed = dataclasses.replace(pretraining, **settings)
    return Recipe(
        made["Model"], made.get("Cache"), changed, made["INITIALISATION"], made["optimizer"], made["learning_rate"]
    )


def batch(step: int, rows: int = ROWS, length: int = LENGTH) -> Tensor:
    """Tokens of one optimizer step, int64 [rows, length + 1]: each is the one before it plus 1, or any."""
    draw = torch.Generator().manual_seed(1000 + step)
    ids = torch.randint(0, 200, (rows, length + 1), generator=draw)
    follows = torch.rand(rows, length + 1, generator=draw) < 0.5
    for at in range(1, length + 1):
        ids[:, at] = torch.where(follows[:, at], (ids[:, at - 1] + 1) % 200, ids[:, at])
    return ids


def rows_of(whole: Tensor, data_rank: int, data_size: int) -> Examples:
    """What one data-parallel rank gets of a batch: its rows, and the count of all targets."""
    share = len(whole) // data_size
    mine = next_token(whole[data_rank * share : (data_rank + 1) * share])
    return dataclasses.replace(mine, count=whole[:, 1:].numel())


def plain_curve(plan: Path, steps: int = STEPS, *, bf16: bool = False) -> Curve:
    """The same training by a loop of its own: one process, whole batches, `torch.optim.AdamW`, no engine.

    In fp64 but for what the program itself computes in fp32 (norms), so that what is measured is the rounding of the
    engine, and little of that of its judge. From fp32 weights.
    """
    made = recipe(plan)
    model = made.model()
    initialise(model, made.initialisation, made.settings.seed)
    if not bf16:
        model.double()
    is_vector = {name: weight.dim() < 2 or "norm" in name for name, weight in model.named_parameters()}
    matrices = [weight for name, weight in model.named_parameters() if not is_vector[name]]
    vectors = [weight for name, weight in model.named_parameters() if is_vector[name]]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = mean_loss(model, batch(step))
        torch.autograd.backward(loss)
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM).item())
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        validation = mean_loss(model, batch(10_000)).item()
    return Curve(losses, norms, {name: weight.detach() for name, weight in model.named_parameters()}, validation)


def mean_loss(model: nn.Module, ids: Tensor) -> Tensor:
    """Nats per token of int64 [B, T + 1]."""
    return F.cross_entropy(model(ids[:, :-1]).double().flatten(0, 1), ids[:, 1:].flatten())


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("model", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
