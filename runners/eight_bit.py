"""AdamW whose moments take eight bits each."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from runners.shards import divided_like, here

BLOCK = 256
"""Elements that share a scale, within one row: what torchao and bitsandbytes take, where the paper took 2,048."""
_DECADES = 7


class AdamW8bit(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) on moments in block-wise dynamic 8-bit codes (Dettmers et
    al. 2022, arXiv:2110.02861, section 2).

    A step decodes the moments, computes in fp32, and encodes them again; the update itself sees the moments before they
    are rounded. The state of a matrix: `exp_avg` and `exp_avg_sq`, uint8 of its shape, and their scales, fp32
    [..., ceil(columns / 256)]. No block reaches over the end of a row, so that a shard of whole rows moves as in the
    whole. Groups with `narrow` False, those of vectors, keep fp32.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        """Groups hold `betas`, `eps`, `weight_decay`, `narrow`; the learning rate is set before each step."""
        super().__init__(groups, {"lr": 0.0})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """PyTorch gives states that it loads the type of their weight: codes become whole numbers again."""
        super().__setstate__(state)
        for held in self.state.values():
            for name in ("exp_avg", "exp_avg_sq"):
                if f"{name}_scale" in held:
                    held[name] = held[name].to(torch.uint8)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply the gradients; there is nothing to evaluate again."""
        assert closure is None, "a step has one gradient"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state.update(_zeros(weight, group["narrow"]))
        state["step"] += 1
        held, gradient, count = here(weight), here(weight.grad), state["step"].item()  # type: ignore[arg-type]
        (first, second), rate = group["betas"], group["lr"]
        mean = _read(state, "exp_avg").lerp_(gradient, 1.0 - first)
        square = _read(state, "exp_avg_sq")
        square.mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
        _write(state, "exp_avg", mean)
        _write(state, "exp_avg_sq", square)
        held.mul_(1.0 - rate * group["weight_decay"])
        root = square.sqrt().div_((1.0 - second**count) ** 0.5).add_(group["eps"])
        held.addcdiv_(mean, root, value=-rate / (1.0 - first**count))


def encode(values: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes, uint8, and scales of fp32 [..., columns]: the nearest of `codes` times the largest of its block."""
    columns = values.shape[-1]
    blocks = torch.nn.functional.pad(values, (0, -columns % BLOCK))
    blocks = blocks.view(*values.shape[:-1], -1, BLOCK)
    scale = blocks.abs().amax(dim=-1)
    # A block of zeros has no largest: its codes are those of zero whatever it is divided by.
    share = blocks / torch.where(scale > 0, scale, 1.0)[..., None]
    nearest = torch.bucketize(share, (codes[1:] + codes[:-1]) / 2, right=True)
    return nearest.to(torch.uint8).flatten(-2)[..., :columns].contiguous(), scale


def decode(written: Tensor, scale: Tensor, codes: Tensor) -> Tensor:
    """fp32 [..., columns] of codes and scales."""
    values = codes[written.int()]
    return values.mul_(scale.repeat_interleave(BLOCK, dim=-1)[..., : written.shape[-1]])


@cache
def dynamic_codes(signed: bool, device: torch.device) -> Tensor:
    """The 256 values of dynamic tree quantization in rising order, fp32 (Dettmers 2015, arXiv:1511.04561; Dettmers et
    al. 2022, section 2.2): seven decades, each ten times finer than the next with half as many values, 0 and 1.
    """
    found = [0.0, 1.0]
    for decade in range(_DECADES):
        edges = torch.linspace(0.1, 1.0, 2 ** (decade + (0 if signed else 1)) + 1)
        values = 10.0 ** (decade - _DECADES + 1) * ((edges[:-1] + edges[1:]) / 2.0)
        found += [*values.tolist(), *(-values).tolist()] if signed else values.tolist()
    return torch.tensor(sorted(found), device=device)


def _zeros(weight: Tensor, narrow: bool) -> dict[str, Tensor]:
    """States before the first step."""
    state = {"step": torch.tensor(0.0)}
    if not narrow:
        return state | {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
    held = here(weight)
    shape = (*weight.shape[:-1], -(-weight.shape[-1] // BLOCK))
    for name in ("exp_avg", "exp_avg_sq"):
        codes, scale = encode(torch.zeros_like(held, dtype=torch.float32), _codes(name, held.device))
        state[name] = divided_like(codes, weight, tuple(weight.shape))
        state[f"{name}_scale"] = divided_like(scale, weight, shape)
    return state


def _read(state: dict[str, Tensor], name: str) -> Tensor:
    """A moment in fp32: one that is stored so is the state itself, and changes with it."""
    held = here(state[name])
    scale = state.get(f"{name}_scale")
    return held if scale is None else decode(held, here(scale), _codes(name, held.device))


def _write(state: dict[str, Tensor], name: str, values: Tensor) -> None:
    scale = state.get(f"{name}_scale")
    if scale is not None:
        codes, sizes = encode(values, _codes(name, values.device))
        here(state[name]).copy_(codes)
        here(scale).copy_(sizes)


def _codes(name: str, device: torch.device) -> Tensor:
    """The first moment has a sign, the second has none."""
    return dynamic_codes(name == "exp_avg", device)
