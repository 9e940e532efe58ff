"""The moving average of the weights: against its sum, beside a validated model, and through a checkpoint."""

from __future__ import annotations

import copy
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runners import checkpoint
from runners.checkpoint import Keep
from runners.engines.averaged import Averaged, Ema
from runners.engines.torch_engine import TorchEngine, single
from runners.errors import RunError
from runners.objective.examples import next_token
from runners.optimizers import AdamW, optimizers
from runners.ranks import ALONE
from tests.runners.test_pretrain import curve, wait_for_step, weights

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

ADAMW = AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)


def engine() -> TorchEngine:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 16), nn.LayerNorm(16), nn.Linear(16, 10))
    return single(model, optimizers(model, (("*", ADAMW),)), torch.device("cpu"), "fp32", 8, 1.0)


def rows(step: int) -> Tensor:
    torch.manual_seed(50 + step)
    return torch.randint(0, 10, (8, 6))


def train(averaged: Averaged, first: int, last: int) -> list[dict[str, Tensor]]:
    """The weights after each step."""
    seen = []
    for step in range(first, last):
        averaged.gradients(next_token(rows(step)))
        averaged.update(1e-2)
        seen.append({name: weight.detach().clone() for name, weight in averaged.model.named_parameters()})
    return seen


def averages(averaged: Averaged) -> dict[str, Tensor]:
    return {p.name.removeprefix("ema/"): p.tensor for p in averaged.pieces() if p.group == "ema"}


@pytest.mark.parametrize(("decay", "every"), [(0.9, 1), (0.999, 1), (0.5, 3)])
def test_the_average_is_the_weighted_mean_of_the_weights_after_each_update(decay: float, every: int) -> None:
    averaged = Averaged(engine(), Ema(decay, every))
    seen = train(averaged, 0, 10)[every - 1 :: every]
    for name, average in averages(averaged).items():
        shares = [decay**age for age in reversed(range(len(seen)))]
        total = sum(share * step[name].double() for share, step in zip(shares, seen, strict=True)) / sum(shares)
        torch.testing.assert_close(average.double(), total, atol=1e-7, rtol=1e-6)


def test_the_averaged_weights_are_scored_and_training_goes_on_as_if_they_were_not() -> None:
    averaged, plain = Averaged(engine(), Ema(0.9)), engine()
    held_out = next_token(rows(99))
    train(averaged, 0, 5)
    assert averaged.can_be_scored
    said = averaged.averaged_loss(held_out)
    model = copy.deepcopy(averaged.model).eval()
    model.load_state_dict(averages(averaged))
    expected = F.cross_entropy(model(held_out.ids).flatten(0, 1), held_out.targets.flatten())
    assert said == pytest.approx(expected.item(), rel=1e-6)
    train(averaged, 5, 8)
    for step in range(8):
        plain.gradients(next_token(rows(step)))
        plain.update(1e-2)
    for mine, yours in zip(averaged.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(mine, yours)


def test_an_average_goes_through_a_checkpoint_to_the_bit(tmp_path: Path) -> None:
    averaged = Averaged(engine(), Ema(0.9, 2))
    train(averaged, 0, 5)
    saved = checkpoint.save(tmp_path, 5, 5, 1.0, averaged.pieces(), averaged.scalars(), Keep(1), ALONE)
    again = Averaged(engine(), Ema(0.9, 2))
    again.restore(saved)
    train(averaged, 5, 9)
    train(again, 5, 9)
    for name, average in averages(averaged).items():
        assert torch.equal(average, averages(again)[name])
    taken = saved.averaged()
    assert {name: value.dtype for name, value in taken.weights().items()} == dict.fromkeys(
        saved.weights(), torch.float32
    )
    assert not torch.equal(taken.weights()["2.weight"], saved.weights()["2.weight"])


def test_a_checkpoint_without_averages_is_no_start_for_them(tmp_path: Path) -> None:
    plain = engine()
    saved = checkpoint.save(tmp_path, 1, 1, 1.0, plain.pieces(), plain.scalars(), Keep(1), ALONE)
    with pytest.raises(RunError, match=r"holds no tensor `ema/0\.weight`"):
        Averaged(engine(), Ema(0.9)).restore(saved)
    with pytest.raises(RunError, match="holds no average of the weights"):
        saved.averaged()


def test_weights_of_which_others_hold_copies_are_averaged_and_not_scored() -> None:
    class Half(TorchEngine):
        def pieces(self):  # type: ignore[no-untyped-def]
            return (piece for piece in super().pieces() if not piece.name.startswith("model/0"))

    whole = engine()
    half = Half(**{name: getattr(whole, name) for name in whole.__dataclass_fields__})
    averaged = Averaged(half, Ema(0.9))
    train(averaged, 0, 2)
    assert not averaged.can_be_scored
    assert all(not name.startswith("0") for name in averages(averaged))


EVERYTHING = """    ema=Ema(decay=0.95, every=2),
    token_loss=TokenLoss(z_loss=1e-4, label_smoothing=0.05, chunk=100),
    batch_sizes=((20, 2),),
    micro_batch_size=2,
"""
TABLE = """FACTORED = Adafactor(beta2_decay=0.8, eps=1e-15, clip_threshold=1.0, min_scale=0.001, weight_decay=0.0)
OPTIMIZERS = (
    ("embedding.*", Lion(scale=0.1, betas=(0.9, 0.99), weight_decay=0.5)),
    ("*.down_proj.weight", FACTORED),
    ("*", AdamW8bit(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),
)


def optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return optimizers(model, OPTIMIZERS)"""


def with_everything(experiment: Experiment) -> None:
    imports = (
        "import math\n\nfrom runners.engines.averaged import Ema\nfrom runners.objective import TokenLoss\n"
        "from runners.optimizers import Adafactor, AdamW8bit, Lion, optimizers\n"
    )
    experiment.change("import math\n", imports)
    text = (experiment.plan / "train.py").read_text()
    start = text.index("def optimizer")
    experiment.change(text[start : text.index("\n\n\n", start)], TABLE)
    text = (experiment.plan / "train.py").read_text()
    lines = [line for line in text.splitlines(keepends=True) if "micro_batch_size=" not in line]
    (experiment.plan / "train.py").write_text("".join(lines))
    experiment.change("    gradient_accumulation_steps=1,\n", EVERYTHING + "    gradient_accumulation_steps=2,\n")


def test_a_killed_run_with_every_part_of_the_mathematics_ends_with_the_same_bits(experiment: Experiment) -> None:
    with_everything(experiment)
    experiment.change("steps=200", "steps=80")
    whole = experiment.execute("train.py", "whole")
    assert whole.returncode == 0, whole.stderr
    process = experiment.start("train.py", "killed")
    wait_for_step(experiment.folder / "killed", 33, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = experiment.execute("train.py", "killed")
    assert "resuming from step" in resumed.stdout, resumed.stderr
    one, other = experiment.folder / "whole", experiment.folder / "killed"
    found = [checkpoint.required(run) for run in (one, other)]
    assert found[0].names() == found[1].names()
    kinds = {name.rpartition("/")[2] for name in found[0].names("optimizer/")}
    assert {"exp_avg_scale", "row_var", "exp_avg"} <= kinds
    assert all(torch.equal(found[0].tensor(name), found[1].tensor(name)) for name in found[0].names())
    for name in ("train/loss", "validation/loss", "validation/ema_loss"):
        assert curve(one, name) == curve(other, name)
    assert set(curve(one, "validation/ema_loss")) == set(curve(one, "validation/loss"))
    assert curve(one)[80] < curve(one)[1] - 0.5
    assert found[0].tokens == (20 * 2 + 60 * 4) * 32
    assert weights(one).keys() == found[0].averaged().weights().keys()
