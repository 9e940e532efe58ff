"""Which engine can do what together with what: a table that makes the check, its message and its way out.

A cell is refused for a reason that somebody can look up, or because nobody has shown that it trains right: a plan is a
promise, and these combinations fail in silence more often than aloud. What no cell refuses is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from specc.ir.experiment import Requested

ENGINES = ("torch", "deepspeed", "xla")

FEATURES = {
    "zero_0": "ZeRO stage 0",
    "zero_1": "ZeRO stage 1",
    "zero_2": "ZeRO stage 2",
    "zero_3": "ZeRO stage 3",
    "tensor": "tensor parallelism",
    "sequence": "sequence parallelism",
    "pipeline": "pipeline parallelism",
    "interleaving": "interleaved pipeline stages",
    "context": "context parallelism",
    "expert": "expert parallelism",
}
"""Features by name, in the words of messages. ZeRO counts as one where there is more than one rank to shard over."""

KEYS = {
    "tensor": "tensor_parallel_size",
    "sequence": "sequence_parallel",
    "pipeline": "pipeline_parallel_size",
    "interleaving": "pipeline_chunks",
    "context": "context_parallel_size",
    "expert": "expert_parallel_size",
    **{f"zero_{stage}": "zero_stage" for stage in range(4)},
}
"""Features by name, with the key of the spec that asks for each."""


@dataclass(frozen=True)
class Refusal:
    """A cell of the table: what `engine` cannot do, alone or `together` with another feature."""

    engine: str
    feature: str
    together: str | None
    reason: str
    source: str


_MEASURED = "measured with DeepSpeed 0.19.8 against one process, gradient clipping active"
_PIPE = "DeepSpeed, runtime/pipe/engine.py"
_TITAN = "torchtitan, distributed/parallel_dims.py and models/*/parallelize.py"
_UNPROVEN = "no comparison with one process is known to us"
_XLA = "PyTorch/XLA, SPMD user guide: a mesh and partition specs, one program"

REFUSALS: tuple[Refusal, ...] = (
    Refusal(
        "deepspeed",
        "zero_0",
        None,
        "stage 0 in bf16 takes a step with empty gradients at the start, and clips each pipeline stage by its own norm",
        _MEASURED,
    ),
    Refusal("deepspeed", "zero_2", "pipeline", "its pipeline engine asserts stage 0 or 1", _PIPE),
    Refusal("deepspeed", "zero_3", "pipeline", "its pipeline engine asserts stage 0 or 1", _PIPE),
    Refusal("deepspeed", "tensor", "pipeline", "the groups of AutoTP and of the pipeline grid clash", _MEASURED),
    Refusal("deepspeed", "tensor", "context", "the gradients of both together were not verified", _UNPROVEN),
    Refusal("deepspeed", "sequence", None, "AutoTP leaves norms and residuals whole", "DeepSpeed, module_inject"),
    Refusal("deepspeed", "interleaving", None, "its only training schedule is plain 1F1B", f"{_PIPE}, schedule.py"),
    Refusal("deepspeed", "pipeline", "context", "the pipeline grid has no group for parts of a sequence", _PIPE),
    Refusal("deepspeed", "expert", "zero_3", "its MoE layer asserts a lower stage", "DeepSpeed, runtime/engine.py"),
    Refusal("deepspeed", "expert", "tensor", "the gradients of both together were not verified", _UNPROVEN),
    Refusal("deepspeed", "expert", "pipeline", "the gradients of both together were not verified", _UNPROVEN),
    Refusal("deepspeed", "expert", "context", "the gradients of both together were not verified", _UNPROVEN),
    *(
        Refusal("torch", stage, other, f"{name} knows one dimension of parallelism only", _TITAN)
        for stage, name in (("zero_0", "DistributedDataParallel"), ("zero_1", "ZeroRedundancyOptimizer"))
        for other in ("tensor", "pipeline", "context", "expert")
    ),
    Refusal("xla", "zero_1", None, "SPMD shards a tensor or does not: stages 0 and 3", _XLA),
    Refusal("xla", "zero_2", None, "SPMD shards a tensor or does not: stages 0 and 3", _XLA),
    Refusal("xla", "sequence", None, "activations are placed by rules, which this key does not write", _XLA),
    Refusal("xla", "pipeline", None, "every device runs the same program", _XLA),
    Refusal("xla", "interleaving", None, "every device runs the same program", _XLA),
    Refusal("xla", "context", None, "attention over a divided sequence was not verified", _UNPROVEN),
    Refusal("xla", "expert", None, "experts that are divided were not verified", _UNPROVEN),
)


def features(engine: str, requested: Requested, zero_stage: int | None, sharding_size: int) -> tuple[str, ...]:
    """What a request uses. `zero_stage` is None where it is open; over one rank it counts for DeepSpeed only."""
    sizes = (
        ("tensor", requested.tensor_parallel_size),
        ("pipeline", requested.pipeline_parallel_size),
        ("interleaving", requested.pipeline_chunks),
        ("context", requested.context_parallel_size),
        ("expert", requested.expert_parallel_size),
    )
    used = [name for name, size in sizes if size is not None and size > 1]
    if requested.sequence_parallel and "tensor" in used:
        used.append("sequence")
    if zero_stage is not None and (sharding_size > 1 or engine == "deepspeed"):
        used.append(f"zero_{zero_stage}")
    return tuple(used)


def refusals(engine: str, used: tuple[str, ...]) -> Iterator[Refusal]:
    """The cells of the table that stand against an engine doing all of `used`."""
    for cell in REFUSALS:
        if cell.engine == engine and cell.feature in used and (cell.together is None or cell.together in used):
            yield cell


def allows(engine: str, used: tuple[str, ...]) -> bool:
    """Whether an engine can do all of `used` together."""
    return next(refusals(engine, used), None) is None
