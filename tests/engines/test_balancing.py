"""What keeps experts even is of the whole batch: counts are summed over ranks, the auxiliary loss is no rank's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from runners.init import initialise
from runners.layout import Layout
from tests.engines.judging import furthest, trained
from tests.engines.reference import LEARNING_RATE, MAX_GRAD_NORM, ROWS, batch, compiled, recipe
from tests.engines.test_tensor import divided
from tests.engines.training import Case

STEPS = 12
EXPERTS = "model.ffn={{kind: moe, num_experts: 4, experts_per_token: 2, intermediate_size: 64, balancing: {}}}"
BALANCING = {
    "bias": EXPERTS.format("{kind: bias, update_rate: 0.05}"),
    "loss": EXPERTS.format("{kind: loss, coefficient: 0.1}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", BALANCING)
def test_experts_are_balanced_as_in_one_process(tmp_path: Path, kind: str) -> None:
    plan = compiled(tmp_path, BALANCING[kind])
    losses, norms = balanced_curve(plan)
    layouts = (Layout(replicate=2), Layout(shard=2, zero_stage=3))
    cases = [Case(layout, 1, STEPS) for layout in layouts]
    cases.append(Case(divided(True, BALANCING[kind], tensor=2), 2, STEPS))
    for case, seen in zip(cases, trained(plan, cases), strict=True):
        assert furthest(seen[0].losses, losses) <= 5e-6, case.layout
        assert furthest(seen[0].norms, norms) <= 1e-5, case.layout


def balanced_curve(plan: Path) -> tuple[list[float], list[float]]:
    """Losses and norms of plain PyTorch in one process, in two micro-batches as the ranks have them."""
    made = recipe(plan)
    model: Any = made.model()
    initialise(model, made.initialisation, made.settings.seed)
    optimizer = made.optimizer(model)
    for group in optimizer.param_groups:
        group["lr"] = LEARNING_RATE
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        total = 0.0
        for ids in batch(step).split(ROWS // 2):
            loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()) / 2
            total += loss.item()
            if made.settings.auxiliary_loss is not None:
                loss = loss + made.settings.auxiliary_loss / 2 * model.auxiliary_loss()
            torch.autograd.backward(loss)
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM).item())
        optimizer.step()
        if made.settings.after_step:
            model.after_step()
        losses.append(total)
    return losses, norms
