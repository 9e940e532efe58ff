"""Context parallelism: every rank computes a part of each sequence, applied from outside to a generated decoder.

`ulysses` (Jacobs et al. 2023, arXiv:2309.14509): outside of attention a rank has its tokens with all their values;
within attention it has the whole sequence with a part of the heads. Two exchanges, after the projections of queries,
keys and values and before that of the output, lead from one to the other. Masks, positions and biases are those of the
whole sequence, as the model makes them.

`ring` (runners/engines/ring.py): attention too is of a rank's tokens with all heads, and keys and values go round. Of
masks, positions and biases each rank takes the rows of its tokens.

A rank's gradients are those of its tokens: they are summed over context ranks, as over data-parallel ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from runners.engines.exchange import gather, to_heads, to_sequence
from runners.engines.ring import Functional, own_chunks
from runners.errors import RunError
from runners.layout import Layout
from runners.objective.examples import Examples
from runners.ranks import Ranks

Loss = Callable[[nn.Module, Examples], Tensor]


def divide_sequences(model: nn.Module, ranks: Ranks) -> None:
    """Make a model compute this rank's part of each sequence: it takes whole sequences, and gives logits of the part.

    Where tensor ranks divide the heads, each divides its own among context ranks. RunError for what it cannot do.
    """
    layout, group = ranks.layout, context_group(ranks)
    _refuse(model, layout)
    _cut_input(model, ranks)
    attentions = [module for module in model.modules() if hasattr(module, "o_proj")]
    program = cast("Any", type(model)).forward.__globals__
    program["F"] = Functional(group) if layout.is_ring else F
    if not layout.is_ring:
        for attention in attentions:
            _divide_attention(attention, group)
        for name in layout.by_head:
            whole = getattr(program[name], "whole", program[name])  # once, also for the second model of a process
            program[name] = _of_own_heads(whole, ranks)
    for module in model.modules():
        if type(module).__name__ == "Router":
            module.register_forward_hook(_Average(group))


def context_group(ranks: Ranks) -> dist.ProcessGroup:
    """The ranks that this one divides sequences with."""
    assert ranks.mesh is not None, "one process divides nothing"
    return ranks.mesh["context"].get_group()


def of_own_part(loss: Loss, ranks: Ranks) -> Loss:
    """The same loss over the targets of this rank's part of each sequence."""

    def summed(model: nn.Module, examples: Examples) -> Tensor:
        return loss(model, replace(examples, targets=own_part(examples.targets, ranks)))

    return summed


def own_part(whole: Tensor, ranks: Ranks, axis: int = 1) -> Tensor:
    """What of [B, T, ...] is this rank's, along the sequence."""
    own, count = _own_chunks(ranks)
    chunks = whole.chunk(count, dim=axis)
    return torch.cat([chunks[number] for number in own], dim=axis)


def within_whole(part: Tensor, ranks: Ranks) -> Tensor:
    """The part [B, T / ranks, D] at its place in [B, T, D], zeros around it."""
    own, count = _own_chunks(ranks)
    chunks = dict(zip(own, part.chunk(len(own), dim=1), strict=True))
    blank = torch.zeros_like(chunks[own[0]])
    return torch.cat([chunks.get(number, blank) for number in range(count)], dim=1)


def _own_chunks(ranks: Ranks) -> tuple[tuple[int, ...], int]:
    """Numbers of the chunks of a sequence that this rank has, and how many chunks there are."""
    rank, size = ranks.context_rank, ranks.layout.context
    return (own_chunks(rank, size), 2 * size) if ranks.layout.is_ring else ((rank,), size)


def _refuse(model: nn.Module, layout: Layout) -> None:
    names = [name for name, _ in model.named_parameters()]
    if not hasattr(model, "hidden") or hasattr(model, "encoder"):
        raise RunError("context parallelism divides the sequences of decoders, and this is none")
    constants = cast("Any", type(model)).forward.__globals__
    for part, what in ((".sinks", "attention sinks"), ("prediction.", "prediction heads")):
        if any(part in name for name in names):
            raise RunError(f"context parallelism does not divide {what}")
    for function, what in (("relative_bucket", "learned biases of scores"), ("within_capacity", "experts' capacity")):
        if function in constants:
            raise RunError(f"context parallelism does not divide {what}")
    if layout.is_ring:
        _refuse_other_kernels(model)
        return
    size = layout.context * layout.tensor
    for letter, what in (("N", "query heads"), ("K", "key/value heads")):
        if constants.get(letter, size) % size:
            raise RunError(
                f"{constants[letter]} {what} do not divide among {layout.context} context x {layout.tensor} tensor "
                "ranks; a ring divides none"
            )
    if layout.tensor > 1 and any("kv_b_proj" in name for name in names):
        raise RunError("latent attention is divided among context ranks or tensor ranks, not both")


def _refuse_other_kernels(model: nn.Module) -> None:
    """RunError where attention is not PyTorch's `scaled_dot_product_attention`, which a ring takes the place of."""
    for module in model.modules():
        methods = (getattr(type(module), name, None) for name in ("forward", "attend"))
        called = {name for method in methods if method is not None for name in method.__code__.co_names}
        if hasattr(module, "o_proj") and "scaled_dot_product_attention" not in called:
            raise RunError("ring attention takes the place of the attention kernel `sdpa`, and the model has another")


def _cut_input(model: nn.Module, ranks: Ranks) -> None:
    """Cut what the first block reads; all that is made before it, from its shape, is of the whole sequence."""
    embed, length = cast("Any", model).embed, [0]
    pieces = ranks.layout.context * (2 if ranks.layout.is_ring else 1)

    def embedded(*inputs: Any) -> Tensor:
        x_BTD: Tensor = embed(*inputs)
        length[0] = x_BTD.shape[1]
        if length[0] % pieces:
            raise RunError(f"sequences of {length[0]} tokens do not divide into {pieces} parts for the context ranks")
        return x_BTD

    def cut(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = inputs
        # A block reads the whole sequence once only: the first one, the first time.
        return (own_part(x, ranks) if x.shape[1] == length[0] else x, *others)

    def cut_rows(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = inputs
        # Tables [T, R] and biases [..., T, S]: the last axis but one is that of the queries.
        return (x, *(own_part(one, ranks, -2) if isinstance(one, Tensor) else one for one in others))

    cast("Any", model).embed = embedded
    blocks = list(cast("Any", model).layers)
    blocks[0].register_forward_pre_hook(cut)
    for block in blocks if ranks.layout.is_ring else ():
        block.register_forward_pre_hook(cut_rows)


def _divide_attention(attention: nn.Module, group: dist.ProcessGroup) -> None:
    parts = dict(attention.named_children())
    if "kv_b_proj" in parts:
        _after(parts.get("q_b_proj", parts.get("q_proj")), lambda x: to_heads(x, group))
        # The latent is small, and all heads read it: each rank has it whole, and makes keys and values of its heads.
        _after(parts["kv_a_proj"], lambda x: gather(x, group).movedim(0, 1).flatten(1, 2))
        parts["kv_b_proj"].forward = _of_own_rows(parts["kv_b_proj"], group)
    else:
        # A norm of queries and keys stands before the exchange: it may be over all heads of a token.
        for last in ("q_norm", "q_proj"), ("k_norm", "k_proj"), ("v_proj",):
            _after(next(parts[name] for name in last if name in parts), lambda x: to_heads(x, group))
    parts["o_proj"].register_forward_pre_hook(lambda _, inputs: (to_sequence(inputs[0], group),))


def _after(module: nn.Module | None, change: Callable[[Tensor], Tensor]) -> None:
    assert module is not None, "an attention has queries"
    module.register_forward_hook(lambda _, __, made: change(made))


def _of_own_rows(projection: nn.Module, group: dist.ProcessGroup) -> Callable[[Tensor], Tensor]:
    def projected(x: Tensor) -> Tensor:
        weight = cast("Tensor", projection.weight)
        return F.linear(x, weight.chunk(group.size())[group.rank()])

    return projected


def _of_own_heads(whole: Callable[..., Tensor], ranks: Ranks) -> Callable[..., Tensor]:
    layout, place = ranks.layout, ranks.layout.place(ranks.rank)

    def own(*inputs: Any) -> Tensor:
        of_tensor_rank = whole(*inputs).chunk(layout.tensor)[place["tensor"]]
        return of_tensor_rank.chunk(layout.context)[place["context"]]

    cast("Any", own).whole = whole
    return own


@dataclass(frozen=True)
class _Average:
    """What a router keeps for the auxiliary loss is of all tokens of the micro-batch."""

    group: dist.ProcessGroup

    def __call__(self, router: Any, _: Any, made: Any) -> Any:
        if hasattr(router, "share_E"):
            router.load_E, router.share_E = (
                gather(kept, self.group).mean(dim=0) for kept in (router.load_E, router.share_E)
            )
        return made
