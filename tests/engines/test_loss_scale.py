"""fp16: an overflow on any rank is one on all, so that they skip the same steps and scale the loss alike."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import torch

from runners.engines.torch_engine import TorchEngine
from runners.layout import Layout
from runners.ranks import join, leave
from tests.engines.judging import furthest
from tests.engines.ranks import on_ranks
from tests.engines.reference import LEARNING_RATE, VARIANTS, batch, rows_of
from tests.engines.test_tensor import divided
from tests.engines.training import Case, built

if TYPE_CHECKING:
    from tests.engines.conftest import Experiment

STEPS, START = 10, 2.0**24
"""The first scales overflow; at some of them only few elements of the gradient do."""
LAYOUTS = {
    "ddp": Layout(replicate=2),
    "zero 1": Layout(shard=2, zero_stage=1),
    "zero 3": Layout(shard=2, zero_stage=3),
    "tensor": divided(False, *VARIANTS["alibi"], tensor=2),
    "tensor in zero 3": divided(True, *VARIANTS["alibi"], tensor=2, shard=2, zero_stage=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_all_ranks_skip_the_steps_that_one_process_skips(experiment: Experiment, name: str) -> None:
    plan, _ = experiment("alibi", STEPS)
    ((losses, scales),) = on_ranks(1, scaled, str(plan), Layout())
    assert scales[0] == START / 2
    assert scales[-1] == scales[-2] < START / 4
    for others, theirs in on_ranks(LAYOUTS[name].processes, scaled, str(plan), LAYOUTS[name]):
        assert theirs == scales
        assert furthest(others, losses) <= 5e-4  # the noise of fp16


def scaled(plan: str, layout: Layout) -> tuple[list[float], list[float]]:
    """Losses, and scales after each step, of a training that begins with too large a scale."""
    ranks = join(layout)
    case = Case(layout, 1, STEPS, {"precision": "fp16", "loss_scale": "dynamic"})
    made = cast("TorchEngine", built(Path(plan), case, ranks))
    engine = dataclasses.replace(made, scaler=torch.amp.GradScaler("cpu", init_scale=START))
    losses, scales = [], []
    for step in range(STEPS):
        losses.append(engine.gradients(rows_of(batch(step), ranks.data_rank, ranks.data_size))[0])
        engine.update(LEARNING_RATE)
        assert engine.loss_scale is not None
        scales.append(engine.loss_scale)
    leave(ranks)
    return losses, scales
