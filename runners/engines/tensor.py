"""Tensor and sequence parallelism by PyTorch's DTensor, applied from outside to a single-device model.

A block's parts (attention, feed-forward) are divided as in Shoeybi et al. 2019, "Megatron-LM" (arXiv:1909.08053,
section 3): what enters a part is whole, each rank computes with its heads or its columns, and what leaves it is summed.
Between the parts the stream x_BTD is a DTensor: whole on every rank, or divided along the sequence (Korthikanti et al.
2022, arXiv:2205.05198, section 4.2.2). Inside a part, and outside the blocks, all tensors are plain ones, so that the
model's own code needs no rule for DTensors. Every weight is a DTensor, so that clipping and optimizers see one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor

from runners.engines.recompute import blocks
from runners.errors import RunError
from runners.layout import Layout
from runners.objective.examples import Examples

WHOLE, SUMMAND = Replicate(), Partial()

Loss = Callable[[nn.Module, Examples], Tensor]

Hook = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]
"""What is called with the inputs of a module, and gives those that it gets."""

Axes = Mapping[str, int | None]
"""By name, the axis of a weight that tensor ranks divide; None where each has all of it."""


def divide(model: nn.Module, mesh: DeviceMesh, layout: Layout, *, logits_divided: bool = False) -> None:
    """Make every weight of a decoder a DTensor on the one-dimensional `mesh`, and let blocks compute with their parts.

    `model` can be on meta, and be a part of one: a stage of a pipeline. What `hidden` and `logits` give is plain and
    whole on every rank, but with `logits_divided` the logits stay a DTensor, divided along the vocabulary where the
    head is. RunError for a model, or a weight, that cannot be divided.
    """
    if not hasattr(model, "hidden") or hasattr(model, "predict"):
        raise RunError("tensor parallelism divides decoders that predict one token, and this model is another")
    axes = {name: _axis(name, layout.splits) for name, _ in model.named_parameters()}
    _refuse_uneven(model, axes, mesh.size())
    stream: Placement = Shard(1) if layout.sequence_parallel else WHOLE
    parts = _parts(model, axes)
    enter, leave = _ends(mesh, stream)
    for path, module in model.named_modules():
        own = _own(path, module, axes)
        if path in parts:
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
        is_inside = any(f"{path}.".startswith(f"{part}.") for part in parts)
        _distribute(module, mesh, own)
        if is_inside or own.get("weight") == 1:  # the latter has a column a head; the model reads it and never calls it
            _show_local_parts(module, own, mesh)
        elif own:
            module.forward = _of_either(module.forward, mesh)
    streaming = _streaming(mesh, stream)
    for block in blocks(model):
        block.register_forward_pre_hook(streaming)
    _keep_own_heads(model, layout.by_head, mesh.get_local_rank(), mesh.size())
    _end_plain(model, mesh, logits_divided=logits_divided)


def of_divided_logits(loss: Loss) -> Loss:
    """A loss that takes logits of `logits_divided`, inside `loss_parallel()`, and gives a plain sum."""

    def plain_sum(model: nn.Module, examples: Examples) -> Tensor:
        summed: Tensor = _plain(loss(model, examples), WHOLE)
        return summed

    return plain_sum


def settle(model: nn.Module) -> None:
    """Sum the gradients of whole weights that got a summand from each rank; others stay as they are.

    To be called once, after the last backward pass of a step.
    """
    for weight in model.parameters():
        gradient = weight.grad
        if isinstance(weight, DTensor) and isinstance(gradient, DTensor) and gradient.placements != weight.placements:
            weight.grad = gradient.redistribute(placements=weight.placements)


def _axis(name: str, splits: tuple[tuple[str, int], ...]) -> int | None:
    return next((axis for pattern, axis in splits if fnmatchcase(name, pattern)), None)


def _refuse_uneven(model: nn.Module, axes: Axes, ranks: int) -> None:
    for name, weight in model.named_parameters():
        axis = axes[name]
        if axis is not None and weight.shape[axis] % ranks:
            raise RunError(f"{weight.shape[axis]} on axis {axis} of `{name}` do not divide among {ranks} tensor ranks")


def _parts(model: nn.Module, axes: Axes) -> set[str]:
    """Paths of the modules that blocks consist of and that have a divided weight."""
    paths = {module: path for path, module in model.named_modules()}
    parts = [paths[part] for block in blocks(model) for part in block.children()]
    divided = [name for name, axis in axes.items() if axis is not None]
    return {part for part in parts if any(name.startswith(f"{part}.") for name in divided)}


def _own(path: str, module: nn.Module, axes: Axes) -> dict[str, int | None]:
    """Of the weights that a module has itself."""
    return {name: axes[f"{path}.{name}" if path else name] for name, _ in module.named_parameters(recurse=False)}


def _distribute(module: nn.Module, mesh: DeviceMesh, own: Axes) -> None:
    for name, axis in own.items():
        weight = module.get_parameter(name)
        placed = distribute_tensor(weight.detach(), mesh, [WHOLE if axis is None else Shard(axis)])
        module.register_parameter(name, nn.Parameter(placed, requires_grad=weight.requires_grad))


def _show_local_parts(module: nn.Module, own: Axes, mesh: DeviceMesh) -> None:
    """Let the module's own code find plain tensors in the place of its weights, which stay DTensors for all others.

    It becomes of a class with a property for each: what FSDP does with `_parameters`, and names of weights, stay.
    """
    views = []
    for name, axis in own.items():
        weight = "weight" if name == "bias" else name.removesuffix("_bias")
        # What is added to a sum over ranks is added by one of them.
        follows_sum = weight != name and own.get(weight) == module.get_parameter(weight).dim() - 1
        views.append((name, axis, not follows_sum or mesh.get_local_rank() == 0))
    if views:
        module.__class__ = _shown(type(module), tuple(views), mesh)  # type: ignore[arg-type]


@cache
def _shown(kind: type[nn.Module], views: tuple[tuple[str, int | None, bool], ...], mesh: DeviceMesh) -> type[nn.Module]:
    """One class for the modules of all layers that are alike: torch.compile makes one graph of them."""
    return type(kind.__name__, (kind,), {name: property(_view(name, axis, adds, mesh)) for name, axis, adds in views})


def _view(name: str, axis: int | None, adds: bool, mesh: DeviceMesh) -> Callable[[nn.Module], Tensor]:
    # Each rank knows the gradient of its part; of a whole weight it knows what comes through its own heads or columns.
    placement = SUMMAND if axis is None else Shard(axis)

    def view(module: nn.Module) -> Tensor:
        weight = cast("DTensor", module._parameters[name])
        if weight.device_mesh != mesh:
            return weight  # FSDP has divided it further, and asks: to compute with it, it would have gathered it
        local = weight.to_local(grad_placements=[placement])
        return local if adds else local * 0.0

    return view


def _ends(mesh: DeviceMesh, stream: Placement) -> tuple[Hook, Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]]:
    """Before and after what a rank computes with its weights: whole inputs, whose gradients are summed; an output that
    is.
    """

    def enter(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(_plain(value, SUMMAND) for value in given)

    def leave(_module: nn.Module, _given: tuple[Any, ...], made: Tensor) -> Tensor:
        return DTensor.from_local(made, mesh, [SUMMAND], run_check=False).redistribute(placements=[stream])

    return enter, leave


def _of_either(forward: Callable[..., Tensor], mesh: DeviceMesh) -> Callable[..., Tensor]:
    """Of a module between the parts or outside the blocks: DTensors make DTensors, and plain tensors plain ones."""

    def either(given: Tensor, *more: Any) -> Tensor:
        if isinstance(given, DTensor):
            return forward(given, *more)
        made: Tensor = _plain(forward(_replicated(given, mesh), *more), WHOLE)
        return made

    return either


def _streaming(mesh: DeviceMesh, stream: Placement) -> Hook:
    """What a block reads, as the stream is placed: the first one reads a plain tensor."""

    def enter(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_replicated(given[0], mesh).redistribute(placements=[stream]), *given[1:])

    return enter


def _replicated(value: Tensor, mesh: DeviceMesh) -> DTensor:
    return value if isinstance(value, DTensor) else DTensor.from_local(value, mesh, [WHOLE], run_check=False)


def _plain(value: Any, gradient: Placement) -> Any:
    """A DTensor as it is on one device. Its gradient is the same on every rank (WHOLE), or to be summed (SUMMAND)."""
    if not isinstance(value, DTensor):
        return value
    return value.redistribute(placements=[WHOLE]).to_local(grad_placements=[gradient])


def _keep_own_heads(model: nn.Module, by_head: tuple[str, ...], rank: int, ranks: int) -> None:
    module = type(model).forward.__globals__
    for name in by_head:
        whole = getattr(module[name], "whole", module[name])  # once, also for the second model of a process
        module[name] = _own_heads(whole, rank, ranks)


def _own_heads(whole: Callable[..., Tensor], rank: int, ranks: int) -> Callable[..., Tensor]:
    def own(*given: Any) -> Tensor:
        return whole(*given).chunk(ranks)[rank]

    own.whole = whole  # type: ignore[attr-defined]
    return own


def _end_plain(model: nn.Module, mesh: DeviceMesh, *, logits_divided: bool) -> None:
    """Let `hidden` and `logits` take and give plain tensors, whole on every rank, whatever they do in between."""
    hidden, logits = cast("Any", model).hidden, cast("Any", model).logits

    def plain_hidden(*given: Any, **more: Any) -> Any:
        return _plain(hidden(*given, **more), WHOLE)

    def ended_logits(x_BTD: Tensor) -> Any:
        made = logits(_replicated(x_BTD, mesh))
        return made if logits_divided and made.placements != (WHOLE,) else _plain(made, WHOLE)

    model.hidden, model.logits = plain_hidden, ended_logits  # type: ignore[assignment]
