"""A model and any optimizer of PyTorch as pieces by the names of weights, and back; plain tensors and DTensors alike.

model/layers.0.norm.weight                 parameters and persistent buffers
optimizer/layers.0.norm.weight/exp_avg     what the optimizer keeps for that weight
optimizer/layers.0.norm.weight/step        also plain numbers, as tensors without axes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from runners.checkpoint.piece import MODEL, OPTIMIZER, Piece
from runners.checkpoint.placement import Holding, holding, local
from runners.checkpoint.reading import Checkpoint
from runners.errors import RunError

_NUMBERS = {bool: torch.bool, int: torch.int64, float: torch.float64}


def _always(name: str) -> bool:  # noqa: ARG001 - one process writes everything
    return True


def pieces(model: nn.Module, optimizer: Any, writes: Callable[[str], bool] = _always) -> Iterator[Piece]:
    """What this rank has to write of a model and its optimizer, or of several behind `Optimizers`.

    A DTensor's mesh says which part is this rank's, and which of several copies is the first. `writes` is asked about
    plain tensors, by the name of the weight: True on exactly one rank of those that hold it. RunError for a state that
    is neither a tensor nor a number, or that is divided in a way of its own.
    """
    for name, tensor in model.state_dict().items():
        yield from _parts(f"{MODEL}/{name}", tensor, holding(tensor), plain=writes(name))
    states = _states(optimizer)
    for name, weight in model.named_parameters():
        for key, value in states.get(weight, {}).items():
            if value is not None:
                whole = f"{OPTIMIZER}/{name}/{key}"
                yield from _parts(whole, _as_tensor(value, whole), _placed(value, weight, whole), plain=writes(name))


def restore(found: Checkpoint, model: nn.Module, optimizer: Any, *, partial: bool = False) -> None:
    """Give a model and its optimizer what a checkpoint holds, bit for bit, where and as a fresh optimizer keeps it.

    `partial`: the model is a part of the one that was written, as a stage of a pipeline is. RunError when names, shapes
    or types are of another model or optimizer.
    """
    mine = {f"{MODEL}/{name}": tensor for name, tensor in model.state_dict().items()}
    theirs = found.names(f"{MODEL}/")
    if others := sorted(mine.keys() - set(theirs)) or ([] if partial else sorted(set(theirs) - mine.keys())):
        raise RunError(f"{found.path} is of another model than this plan: one of them has no `{others[0]}`")
    make_states(optimizer)  # before the weights are read: it may change them
    for name, tensor in mine.items():
        _read_into(found, name, tensor, holding(tensor))
    states = _states(optimizer)
    saved = _saved_states(found)
    for name, weight in model.named_parameters():
        if name in saved:
            _restore_states(found, name, weight, states.get(weight, {}), saved[name])
        else:  # it never had a gradient, and nothing is kept for it before the first one
            _forget(optimizer, weight)


@torch.no_grad()
def make_states(optimizer: Any) -> None:
    """Let an optimizer make the states that its first step makes, by a step with zero gradients at a rate of zero.

    Weights may change by it where a rule does more than apply gradients, and counters move: both are read next.
    """
    for part in _optimizers(optimizer):
        rates = [group["lr"] for group in part.param_groups]
        for group in part.param_groups:
            group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], Tensor) else 0.0
            for weight in group["params"]:
                weight.grad = torch.zeros_like(weight)
        part.step()
        part.zero_grad(set_to_none=True)
        for group, rate in zip(part.param_groups, rates, strict=True):
            group["lr"] = rate


def _optimizers(optimizer: Any) -> tuple[torch.optim.Optimizer, ...]:
    """Those behind one step, or the one."""
    return tuple(getattr(optimizer, "parts", (optimizer,)))


def _states(optimizer: Any) -> dict[Tensor, dict[str, Any]]:
    """What is kept for each weight, the same mappings that the optimizers use."""
    return {weight: state for part in _optimizers(optimizer) for weight, state in part.state.items()}


def _forget(optimizer: Any, weight: Tensor) -> None:
    for part in _optimizers(optimizer):
        part.state.pop(weight, None)


def _saved_states(found: Checkpoint) -> dict[str, tuple[str, ...]]:
    """Names of states by weight."""
    saved: dict[str, tuple[str, ...]] = {}
    for name in found.names(f"{OPTIMIZER}/"):
        weight, _, key = name.removeprefix(f"{OPTIMIZER}/").rpartition("/")
        saved[weight] = (*saved.get(weight, ()), key)
    return saved


def _restore_states(
    found: Checkpoint, name: str, weight: Tensor, state: dict[str, Any], saved: tuple[str, ...]
) -> None:
    fresh = {key for key, value in state.items() if value is not None}
    if fresh != set(saved):
        raise RunError(
            f"{found.path} is of another optimizer than this plan: it holds {_listed(saved)} of `{name}`, "
            f"and this one keeps {_listed(fresh)}"
        )
    for key in saved:
        whole = f"{OPTIMIZER}/{name}/{key}"
        value = state[key]
        if isinstance(value, Tensor):
            if found.dtype(whole) != value.dtype:
                raise RunError(f"`{whole}` of {found.path} is {found.dtype(whole)}, and this optimizer's {value.dtype}")
            _read_into(found, whole, value, _placed(value, weight, whole))
        else:
            state[key] = type(value)(found.tensor(whole).item())


def _listed(keys: Any) -> str:
    return ", ".join(sorted(keys)) or "nothing"


def _as_tensor(value: Any, name: str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    kind = _NUMBERS.get(type(value))
    if kind is None:
        raise RunError(f"`{name}` is a {type(value).__name__}, and a checkpoint holds tensors and numbers")
    return torch.tensor(value, dtype=kind)


def _placed(value: Any, weight: Tensor, name: str) -> Holding:
    """Where a state lies: as its own mesh says, or as its weight where it is that weight's local shape."""
    of_value, of_weight = holding(_as_tensor(value, name)), holding(weight)
    if of_value.divided or not of_weight.divided:
        return of_value
    if of_value.shape == ():
        return Holding((), of_value.parts, divided=True, first=of_weight.first_of_all, first_of_all=True)
    if of_value.shape == tuple(local(weight).shape):
        return of_weight
    raise RunError(f"`{name}` is a plain tensor of shape {of_value.shape}, and its weight is divided over ranks")


def _parts(name: str, tensor: Tensor, held: Holding, *, plain: bool) -> Iterator[Piece]:
    if not (held.first if held.divided else plain):
        return
    values = local(tensor.detach())
    for offset, slices in held.parts:
        yield Piece(name, held.shape, offset, values[slices])


@torch.no_grad()
def _read_into(found: Checkpoint, name: str, tensor: Tensor, held: Holding) -> None:
    if found.shape(name) != held.shape:
        raise RunError(
            f"{found.path} is of another model than this plan: `{name}` is of shape {found.shape(name)} there, "
            f"and {held.shape} here"
        )
    values = local(tensor)
    for offset, slices in held.parts:
        part = values[slices]
        part.copy_(found.read(name, offset, tuple(part.shape)))
