"""Which rank holds what of a model: the one description that all engines read.

It names mesh axes and weights, and no engine: PyTorch makes DTensors of it, DeepSpeed a partition of projections, XLA
partition specs. Ranks are numbered with neighbours first along tensor, then context, shard, replicate and pipeline
(Narayanan et al. 2021, arXiv:2104.04473, section 5.1 has tensor parallelism inside a node).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from specc.ir.component import Weight
from specc.ir.model import Model
from specc.ir.patterns import exceptions
from specc.ir.plan import Layout

Pieces = tuple[tuple[int, int], ...]
"""Layers [first, end) of each piece of a pipeline, in the order of the model."""


@dataclass(frozen=True)
class Placement:
    """The sizes of mesh axes, and what each axis divides."""

    pipeline: int
    replicate: int
    """Copies of everything that ZeRO divides; with `shard` it makes the data-parallel ranks."""
    shard: int
    context: int
    """Ranks that read different parts of the same sequences."""
    tensor: int
    expert: int
    """Ranks that divide experts, taken out of `shard` and `context`."""
    zero_stage: int
    """0 whole copies; 1 optimizer states, 2 also gradients, 3 also weights over `shard` x `context` ranks."""
    sequence_parallel: bool
    splits: tuple[tuple[str, int], ...]
    """Patterns over canonical names, and the axis that tensor ranks divide; what no pattern matches is whole."""
    by_head: tuple[str, ...]
    """Functions of the generated model of which a tensor rank takes its own heads' part."""
    stages: Pieces
    """Piece i stands on pipeline rank i modulo `pipeline`; empty without a pipeline."""
    schedule: str
    context_kind: str
    """How attention sees a sequence that context ranks divide."""


def place(model: Model, layout: Layout, context_length: int) -> Placement:
    """The placement of a model in a layout, for sequences of `context_length` tokens.

    What an axis of size 1 would divide is left out.
    """
    zero = layout.zero_stage
    # Where ZeRO divides nothing every rank is a copy, but for those that experts are taken out of.
    alike = zero == 0 and layout.expert_parallel_size == 1
    copies = layout.data_parallel_size if alike else layout.data_parallel_replicas
    is_cut, is_piped = layout.tensor_parallel_size > 1, layout.pipeline_parallel_size > 1
    # Context-parallel ranks take their own heads out of what they exchange.
    by_head = layout.tensor_parallel_size * layout.context_parallel_size > 1
    return Placement(
        pipeline=layout.pipeline_parallel_size,
        replicate=copies,
        shard=layout.data_parallel_size // copies,
        context=layout.context_parallel_size,
        tensor=layout.tensor_parallel_size,
        expert=layout.expert_parallel_size,
        zero_stage=zero,
        sequence_parallel=layout.sequence_parallel,
        splits=splits(model) if is_cut else (),
        by_head=functions_by_head(model) if by_head else (),
        stages=_stages(model, layout, context_length) if is_piped else (),
        schedule=layout.pipeline_schedule,
        context_kind=layout.context_parallel_kind,
    )


def splits(model: Model) -> tuple[tuple[str, int], ...]:
    """Few patterns that give every weight its axis; whole ones match none."""
    axes = {weight.name: weight.split for weight in model.weights()}
    return tuple((match, axis) for match, axis in exceptions(axes, None) if axis is not None)


def functions_by_head(model: Model) -> tuple[str, ...]:
    """Names of functions that give one value a head, each once."""
    return tuple(dict.fromkeys(name for _, _, part in model.counted() for name in part.by_head))


def divided(weight: Weight, ranks: int) -> tuple[int, ...]:
    """The sizes of the largest part that one of so many tensor ranks holds of a weight."""
    return tuple(-(-size // ranks) if axis == weight.split else size for axis, size in enumerate(weight.sizes))


@cache
def pieces(layers: int, stages: int, chunks: int, head: Fraction) -> Pieces:
    """Layers of each piece of a pipeline; `head` is the cost of what follows them, in layers.

    The stage with the most to do sets the pace, so that its cost is the least there is: a last stage with a costly
    head gets fewer layers. The embedding looks rows up and costs nothing, but the first stage keeps the most
    micro-batches, so it gets no more layers than others. A schedule that interleaves goes through equal pieces.
    """
    if chunks > 1 or stages == 1:
        return _placed(_spread(layers, stages * chunks))
    choices = range(1, max(1, layers - stages + 1) + 1)
    last = min(choices, key=lambda own: (max(_share(layers - own, stages - 1), own + head), -own))
    return _placed((*_spread(layers - last, stages - 1), last))


def _stages(model: Model, layout: Layout, context_length: int) -> Pieces:
    outside = sum(part.matmul_flops for _, part in (*model.inputs, *model.outputs))
    inside = model.forward_flops_per_token(context_length) - outside
    head = Fraction(outside * model.num_layers, inside)
    return pieces(model.num_layers, layout.pipeline_parallel_size, layout.pipeline_chunks, head)


def _spread(layers: int, count: int) -> tuple[int, ...]:
    """As even as can be, smaller parts first."""
    each, more = divmod(layers, count)
    return (each,) * (count - more) + (each + 1,) * more


def _share(layers: int, count: int) -> int:
    return -(-layers // count)


def _placed(sizes: tuple[int, ...]) -> Pieces:
    ends = tuple(sum(sizes[: index + 1]) for index in range(len(sizes)))
    return tuple(zip((0, *ends[:-1]), ends, strict=True))
