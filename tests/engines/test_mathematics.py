"""Loss, optimizers and the average of the weights are those of one process on any layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from runners import checkpoint
from runners.engines.averaged import Ema
from runners.layout import Layout
from runners.objective import TokenLoss
from tests.engines import reference
from tests.engines.curves import Saving, largest, train
from tests.engines.ranks import on_ranks
from tests.engines.reference import LOSS_TOLERANCE, NORM_TOLERANCE

LAYOUTS = {
    "ddp": Layout(replicate=2),
    "fsdp": Layout(shard=2, zero_stage=3),
    "context": Layout(context=2),
    "pipeline": Layout(pipeline=2, stages=((0, 2), (2, 4))),
    "hybrid": Layout(replicate=2, shard=2, zero_stage=3),
}
LOSS = TokenLoss(z_loss=1e-3, label_smoothing=0.1)
CHUNKS = TokenLoss(z_loss=1e-3, label_smoothing=0.1, chunk=7)
STEPS = 6


@pytest.mark.parametrize("layout", ["ddp", *(pytest.param(name, marks=pytest.mark.slow) for name in list(LAYOUTS)[1:])])
def test_a_loss_in_chunks_and_an_average_are_those_of_one_process(layout: str, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path)
    spread = LAYOUTS[layout]
    settings = {"ema": Ema(0.9, 2), "micro_batch_size": 2}
    alone, together = tmp_path / "alone", tmp_path / "together"
    (one,) = on_ranks(1, train, plan, Layout(), {**settings, "token_loss": LOSS}, STEPS, Saving(alone, at=STEPS))
    said = on_ranks(
        spread.processes, train, plan, spread, {**settings, "token_loss": CHUNKS}, STEPS, Saving(together, at=STEPS)
    )
    for rank in said:
        assert largest(rank.losses, one.losses) <= LOSS_TOLERANCE
        assert largest(rank.norms, one.norms) <= NORM_TOLERANCE
        assert abs(rank.validation - one.validation) <= LOSS_TOLERANCE
    written = [name for rank in said for name in rank.written]
    assert len(written) == len(set(written)), "each part of the average is written by one rank"
    want, found = checkpoint.required(alone), checkpoint.required(together)
    assert set(found.names("ema/")) == set(want.names("ema/"))
    for name in want.names("ema/"):
        # By norm: where a gradient is nothing but rounding, AdamW makes a step of it all the same.
        assert (found.tensor(name) - want.tensor(name)).norm() <= 1e-5 * want.tensor(name).norm()


OPTIMIZERS = {
    "lion": ("{kind: lion, learning_rate: 1.0e-4}", "elements"),
    "adamw_8bit": ("{kind: adamw_8bit, learning_rate: 1.0e-3}", "rows"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_divided_by_rows_move_as_whole_ones_and_go_on_in_one_process(name: str, tmp_path: Path) -> None:
    plan = reference.compiled(tmp_path, f"stages.pretrain.optimizer={OPTIMIZERS[name][0]}", "model.hidden_size=320")
    spread, alone = LAYOUTS["fsdp"], Layout()
    settings = {"micro_batch_size": 4}
    (one,) = on_ranks(1, train, plan, alone, settings, STEPS)
    whole = on_ranks(2, train, plan, spread, settings, STEPS, Saving(tmp_path / "run", at=3))
    assert largest(whole[0].losses, one.losses) <= 20 * LOSS_TOLERANCE
    (rest,) = on_ranks(1, train, plan, alone, settings, STEPS, Saving(tmp_path / "run", resume=True))
    assert largest(rest.losses, whole[0].losses[3:]) <= 20 * LOSS_TOLERANCE
