"""Dropout in training: its masks follow from (seed, step, rank), so that a killed run ends with the same bits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from runners.dropout import seed_dropout
from runners.engines.recompute import recompute_activations
from runners.engines.torch_engine import TorchEngine, single
from runners.objective.examples import next_token
from tests import compiling
from tests.runners.test_pretrain import curve, wait_for_step, weights

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

SMALL = ("model.hidden_size=32", "model.context_length=32")
DROPOUT = "model.dropout={embedding: 0.1, attention: 0.1, residual: 0.1, ffn: 0.1}"


def engine(folder: Path, *, recompute: bool = False) -> TorchEngine:
    """The generated model with weights that only depend on the seed."""
    model = compiling.model(folder, *SMALL, DROPOUT).Model()
    torch.manual_seed(0)
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    if recompute:
        recompute_activations(model.layers)
    return single(model, torch.optim.AdamW(model.parameters()), torch.device("cpu"), "fp32", 2, None)


def gradients(found: TorchEngine, step: int, seed: int = 1, draws: int = 0) -> torch.Tensor:
    """Of a batch of four micro-batches that are the same sequences, after the generators were used for something."""
    ids = torch.randint(0, 257, (2, 33), generator=torch.Generator().manual_seed(5)).repeat(4, 1)
    torch.rand(step + 7)
    seed_dropout(seed, step, draws)
    found.gradients(next_token(ids))
    return torch.cat([value.grad.flatten() for value in found.model.parameters() if value.grad is not None])


def test_masks_follow_from_seed_step_and_rows_and_from_nothing_else(tmp_path: Path) -> None:
    one = engine(tmp_path)
    first, second = gradients(one, 3), gradients(one, 4)
    assert torch.equal(gradients(one, 3), first)
    assert not torch.allclose(first, second)
    assert not torch.allclose(gradients(one, 3, seed=2), first)
    assert not torch.allclose(gradients(one, 3, draws=1), first)


def test_blocks_that_are_computed_again_drop_the_same_values(tmp_path: Path) -> None:
    plain, again = engine(tmp_path), engine(tmp_path, recompute=True)
    assert torch.equal(gradients(plain, 3), gradients(again, 3))


def test_validation_drops_nothing(tmp_path: Path) -> None:
    examples = next_token(torch.randint(0, 257, (4, 33)))
    with_dropout = engine(tmp_path)
    without = compiling.model(tmp_path, *SMALL).Model()
    without.load_state_dict(with_dropout.model.state_dict())
    plain = single(without, torch.optim.AdamW(without.parameters()), torch.device("cpu"), "fp32", 2, None)
    assert with_dropout.validation_loss(examples) == plain.validation_loss(examples)


def test_only_the_program_of_a_model_with_dropout_says_so() -> None:
    literal = "dropout=True,"
    assert literal not in compiling.files(compiling.planned(*SMALL))["train.py"]
    for place in ("embedding", "attention", "residual", "ffn"):
        plan = compiling.planned(*SMALL, f"model.dropout={{{place}: 0.1}}")
        assert literal in compiling.files(plan)["train.py"], place


def test_a_killed_run_with_dropout_ends_with_the_same_bits(experiment: Experiment) -> None:
    texts = compiling.files(compiling.planned(*SMALL, DROPOUT))
    for name in ("model.py", "train.py"):
        (experiment.plan / name).write_text(texts[name])
    experiment.change('data="text"', 'data="corpus"')
    experiment.change("micro_batch_size=8", "micro_batch_size=4")
    experiment.change("gradient_accumulation_steps=1", "gradient_accumulation_steps=2")
    experiment.change("log_every=10", "log_every=1")
    whole = experiment.execute("train.py", "whole")
    assert whole.returncode == 0, whole.stderr
    process = experiment.start("train.py", "killed")
    wait_for_step(experiment.folder / "killed", 33, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    experiment.change('activation_checkpointing="none"', 'activation_checkpointing="full"')
    resumed = experiment.execute("train.py", "killed")
    assert "resuming from step" in resumed.stdout, resumed.stderr
    one, other = experiment.folder / "whole", experiment.folder / "killed"
    assert curve(one) == curve(other)
    assert all(torch.equal(weight, weights(other)[name]) for name, weight in weights(one).items())
