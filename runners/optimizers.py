"""Optimizers by rules over the names of weights: several of PyTorch's behind one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runners import eight_bit, lion
from runners.errors import RunError
from runners.init import choose

Group = dict[str, Any]
"""Weights that an optimizer of PyTorch treats alike: `params` and what stands for all of them."""


@dataclass(frozen=True)
class AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101); `weight_decay` is for matrices, vectors do not decay."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    scale: float = 1.0
    """Times the learning rate of the schedule."""

    def groups(self, matrices: list[Tensor], vectors: list[Tensor]) -> list[Group]:
        """Matrices, then vectors, those that there are."""
        same = {"scale": self.scale, "betas": self.betas, "eps": self.eps}
        split = ((matrices, self.weight_decay), (vectors, 0.0))
        return [{"params": some, "weight_decay": decay, **same} for some, decay in split if some]

    @staticmethod
    def build(groups: list[Group]) -> torch.optim.Optimizer:
        """The learning rate is set before each step. XLA compiles the step itself, and has no fused one."""
        fused = all(weight.device.type != "xla" for group in groups for weight in group["params"])
        return torch.optim.AdamW(groups, lr=0.0, fused=fused)


@dataclass(frozen=True)
class Muon:
    """Muon (Jordan et al. 2024; Liu et al. 2025, arXiv:2502.16982): orthogonal steps, for matrices only."""

    momentum: float
    nesterov: bool
    steps: int
    """Newton-Schulz iterations."""
    step_size: str
    """`match_rms_adamw`: 0.2 sqrt(longer side). `original`: sqrt(rows / columns) of a tall matrix, else 1."""
    weight_decay: float
    scale: float = 1.0
    """Times the learning rate of the schedule."""

    def groups(self, matrices: list[Tensor], vectors: list[Tensor]) -> list[Group]:
        """All in one; RunError for a weight that is no matrix."""
        for weight in (*vectors, *(weight for weight in matrices if weight.dim() != 2)):
            raise RunError(f"Muon takes matrices, and a rule gives it a weight of shape {tuple(weight.shape)}")
        settings = {"momentum": self.momentum, "nesterov": self.nesterov, "ns_steps": self.steps}
        more = {"adjust_lr_fn": self.step_size, "weight_decay": self.weight_decay, "scale": self.scale}
        return [{"params": matrices, **settings, **more}]

    @staticmethod
    def build(groups: list[Group]) -> torch.optim.Optimizer:
        """The learning rate is set before each step."""
        return torch.optim.Muon(groups, lr=0.0)


@dataclass(frozen=True)
class AdamW8bit:
    """AdamW with moments of 8 bits (Dettmers et al. 2022, arXiv:2110.02861); those of vectors stay in fp32."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    scale: float = 1.0
    """Times the learning rate of the schedule."""

    def groups(self, matrices: list[Tensor], vectors: list[Tensor]) -> list[Group]:
        """Matrices, then vectors, those that there are."""
        same = {"scale": self.scale, "betas": self.betas, "eps": self.eps}
        split = ((matrices, self.weight_decay, True), (vectors, 0.0, False))
        return [{"params": some, "weight_decay": decay, "narrow": n, **same} for some, decay, n in split if some]

    @staticmethod
    def build(groups: list[Group]) -> torch.optim.Optimizer:
        """The learning rate is set before each step."""
        return eight_bit.AdamW8bit(groups)


@dataclass(frozen=True)
class Lion:
    """Lion (Chen et al. 2023, arXiv:2302.06675); `weight_decay` is for matrices, vectors do not decay."""

    betas: tuple[float, float]
    weight_decay: float
    scale: float = 1.0
    """Times the learning rate of the schedule."""

    def groups(self, matrices: list[Tensor], vectors: list[Tensor]) -> list[Group]:
        """Matrices, then vectors, those that there are."""
        same = {"scale": self.scale, "betas": self.betas}
        split = ((matrices, self.weight_decay), (vectors, 0.0))
        return [{"params": some, "weight_decay": decay, **same} for some, decay in split if some]

    @staticmethod
    def build(groups: list[Group]) -> torch.optim.Optimizer:
        """The learning rate is set before each step."""
        return lion.Lion(groups)


@dataclass(frozen=True)
class Adafactor:
    """Adafactor (Shazeer and Stern 2018, arXiv:1804.04235) as PyTorch has it: in step t a weight moves by
    max(min_scale, its root mean square) x min(learning rate, 1 / sqrt(t)); vectors do not decay.
    """

    beta2_decay: float
    """beta2 of step t is 1 - t^-beta2_decay."""
    eps: float
    """Least root of a second moment."""
    clip_threshold: float
    """Root mean square that an update is scaled down to."""
    min_scale: float
    weight_decay: float
    scale: float = 1.0
    """Times the learning rate of the schedule."""

    def groups(self, matrices: list[Tensor], vectors: list[Tensor]) -> list[Group]:
        """Matrices, then vectors, those that there are."""
        same = {"scale": self.scale, "beta2_decay": -self.beta2_decay, "d": self.clip_threshold}
        more = {"eps": (self.eps, self.min_scale)}
        split = ((matrices, self.weight_decay), (vectors, 0.0))
        return [{"params": some, "weight_decay": decay, **same, **more} for some, decay in split if some]

    @staticmethod
    def build(groups: list[Group]) -> torch.optim.Optimizer:
        """The learning rate is set before each step."""
        return torch.optim.Adafactor(groups, lr=0.0)


Settings = AdamW | AdamW8bit | Lion | Adafactor | Muon
Rules = Sequence[tuple[str, Settings]]
"""Patterns over names in order; the first that matches a weight decides."""


@dataclass(frozen=True)
class Optimizers:
    """Several optimizers of PyTorch, which share no weight, as one."""

    parts: tuple[torch.optim.Optimizer, ...]

    @property
    def param_groups(self) -> list[Group]:
        """The groups of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of each part."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes back."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; ValueError for that of other optimizers."""
        saved = state.get("parts", ())
        if len(saved) != len(self.parts):
            raise ValueError(f"{len(saved)} optimizers were saved, and there are {len(self.parts)}")
        for part, one in zip(self.parts, saved, strict=True):
            part.load_state_dict(one)


def optimizers(model: nn.Module, rules: Rules, stacked: tuple[str, ...] = ()) -> Optimizers:
    """Each weight goes to the first rule that matches its name.

    `stacked` are ends of names of tensors that hold several vectors: no matrices, though they have two axes or more.
    RunError for a weight without a rule, and for a rule that nothing is left for; a last rule `*` and those of a model
    that says `is_part` may be for weights elsewhere.
    """
    patterns = [pattern for pattern, _ in rules]
    taken: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in rules]
    for name, weight in model.named_parameters():
        is_vector = weight.dim() < 2 or name.endswith(stacked)
        taken[choose(patterns, name)][is_vector].append(weight)
    groups: dict[type[Settings], list[Group]] = {}
    for (matrices, vectors), (pattern, settings) in zip(taken, rules, strict=True):
        if matrices or vectors:
            groups.setdefault(type(settings), []).extend(settings.groups(matrices, vectors))
        elif pattern != "*" and not getattr(model, "is_part", False):
            raise RunError(f"no weight is left for the rule `{pattern}` of the optimizer")
    return Optimizers(tuple(kind.build(some) for kind, some in groups.items()))
