"""Lion: the sign of a momentum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from runners.shards import here


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, arXiv:2302.06675, algorithm 2. The state of a weight is `exp_avg`, of its shape.

    Every element moves by the learning rate, whatever its gradient: a shard of a weight moves as the whole would.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        """Groups hold `betas` and `weight_decay`; the learning rate is set before each step."""
        super().__init__(groups, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply the gradients; there is nothing to evaluate again."""
        assert closure is None, "a step has one gradient"
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._move(weights, group)

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        """Theta -= lr (sign(beta1 m + (1 - beta1) g) + decay theta); m = beta2 m + (1 - beta2) g."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["exp_avg"] = torch.zeros_like(weight)
        held = [here(weight) for weight in weights]
        gradients = [here(weight.grad) for weight in weights if weight.grad is not None]
        momenta = [here(self.state[weight]["exp_avg"]) for weight in weights]
        rate, (first, second) = group["lr"], group["betas"]
        torch._foreach_mul_(held, 1.0 - rate * group["weight_decay"])
        moved = torch._foreach_lerp(momenta, gradients, 1.0 - first)
        torch._foreach_sign_(moved)
        torch._foreach_add_(held, moved, alpha=-rate)
        torch._foreach_lerp_(momenta, gradients, 1.0 - second)
