"""An optimizer that is saved and restored takes the same steps, to the bit, as one that was never stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runners import checkpoint
from runners.checkpoint import Keep, optimizer_state
from runners.errors import RunError
from runners.optimizers import AdamW, AdamW8bit, Lion, Muon, optimizers

RULES = (
    ("*.weight", Muon(momentum=0.9, nesterov=True, steps=5, step_size="match_rms_adamw", weight_decay=0.1)),
    ("*", AdamW(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),
)
BUILDERS: dict[str, Callable[[nn.Module], Any]] = {
    "adamw": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2),
    "adamw, fused": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True),
    "adamw, amsgrad": lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, amsgrad=True),
    "sgd": lambda model: torch.optim.SGD(model.parameters(), lr=1e-2),
    "sgd, momentum": lambda model: torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9),
    "adafactor": lambda model: torch.optim.Adafactor(model.parameters(), lr=1e-2),
    "nadam": lambda model: torch.optim.NAdam(model.parameters(), lr=1e-2),
    "rprop": lambda model: torch.optim.Rprop(model.parameters(), lr=1e-2),
    "adadelta": lambda model: torch.optim.Adadelta(model.parameters(), lr=1e-2),
    "asgd": lambda model: torch.optim.ASGD(model.parameters(), lr=1e-2),
    "muon and adamw": lambda model: optimizers(model, RULES),
    "8 bits": lambda model: optimizers(model, (("*", AdamW8bit(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)),)),
    "lion": lambda model: optimizers(model, (("*", Lion(betas=(0.9, 0.99), weight_decay=0.1)),)),
}


class Network(nn.Module):
    """With a buffer that is trained by no gradient, and a weight that never has one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.unused = nn.Parameter(torch.ones(2, 2))
        self.register_buffer("seen", torch.zeros(3, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += 1
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


def train(model: nn.Module, optimizer: Any, steps: range) -> None:
    for step in steps:
        inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 / (1 + step)
        optimizer.step()


def states(optimizer: Any) -> list[dict[str, Any]]:
    parts = getattr(optimizer, "parts", (optimizer,))
    return [part.state_dict()["state"] for part in parts]


def same(one: Any, other: Any) -> bool:
    """To the bit, and of one type on one device."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, torch.Tensor):
        like = (one.dtype, one.device, one.stride()) == (other.dtype, other.device, other.stride())
        return like and torch.equal(one, other)
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", BUILDERS)
def test_a_restored_optimizer_goes_on_to_the_bit(name: str, tmp_path: Path) -> None:
    model = Network()
    optimizer = BUILDERS[name](model)
    train(model, optimizer, range(5))
    found = checkpoint.save(tmp_path, 5, 0, 0.0, optimizer_state.pieces(model, optimizer), {}, Keep())
    before = [copy.deepcopy(state) for state in states(optimizer)]

    fresh = Network()
    with torch.no_grad():
        fresh.first.weight.fill_(9.0)
    again = BUILDERS[name](fresh)
    rates = [group["lr"] for group in again.param_groups]
    optimizer_state.restore(found, fresh, again)
    assert all(same(one, other) for one, other in zip(before, states(again), strict=True))
    assert same(model.state_dict(), fresh.state_dict())
    assert [group["lr"] for group in again.param_groups] == rates
    assert all(weight.grad is None for weight in fresh.parameters())

    train(model, optimizer, range(5, 9))
    train(fresh, again, range(5, 9))
    assert same(model.state_dict(), fresh.state_dict())
    assert all(same(one, other) for one, other in zip(states(optimizer), states(again), strict=True))


def test_a_weight_without_a_state_gets_none(tmp_path: Path) -> None:
    model = Network()
    optimizer = BUILDERS["adamw"](model)
    train(model, optimizer, range(2))
    found = checkpoint.save(tmp_path, 2, 0, 0.0, optimizer_state.pieces(model, optimizer), {}, Keep())
    assert not found.names("optimizer/unused")
    fresh = Network()
    again = BUILDERS["adamw"](fresh)
    optimizer_state.restore(found, fresh, again)
    assert fresh.unused not in again.state


def saved(tmp_path: Path, name: str) -> checkpoint.Checkpoint:
    model = Network()
    optimizer = BUILDERS[name](model)
    train(model, optimizer, range(2))
    return checkpoint.save(tmp_path, 2, 0, 0.0, optimizer_state.pieces(model, optimizer), {}, Keep())


def test_the_state_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    model = Network()
    message = "holds exp_avg, exp_avg_sq, step of `first.weight`, and this one keeps momentum_buffer"
    with pytest.raises(RunError, match=message):
        optimizer_state.restore(saved(tmp_path, "adamw"), model, BUILDERS["sgd, momentum"](model))


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    found = saved(tmp_path, "adamw")
    model = Network()
    model.more = nn.Parameter(torch.ones(1))
    with pytest.raises(RunError, match="another model than this plan: one of them has no `model/more`"):
        optimizer_state.restore(found, model, BUILDERS["adamw"](model))
    model = Network()
    del model.second
    with pytest.raises(RunError, match="one of them has no `model/second"):
        optimizer_state.restore(found, model, BUILDERS["adamw"](model))
    optimizer_state.restore(found, model, BUILDERS["adamw"](model), partial=True)
    model = Network()
    model.first = nn.Linear(6, 9)
    with pytest.raises(RunError, match=r"`model/first.weight` is of shape \(8, 6\) there, and \(9, 6\) here"):
        optimizer_state.restore(found, model, BUILDERS["adamw"](model))


def test_a_state_that_no_checkpoint_can_hold_is_refused() -> None:
    model = Network()
    optimizer = BUILDERS["adamw"](model)
    optimizer.state[model.first.weight]["history"] = [1, 2]
    with pytest.raises(RunError, match="/history` is a list"):
        list(optimizer_state.pieces(model, optimizer))
