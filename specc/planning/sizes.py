"""Larger parallel sizes than a request has: the same training on the same devices, spread in another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from specc.ir.experiment import Requested
from specc.ir.plan import Cluster
from specc.planning.batch import divisors

AXES = ("tensor_parallel_size", "context_parallel_size", "pipeline_parallel_size")
"""The cheapest first: what stays inside a node, what sends keys and values, what waits."""
PAIRS = (("tensor_parallel_size", "context_parallel_size"), ("tensor_parallel_size", "pipeline_parallel_size"))


def larger(
    requested: Requested, cluster: Cluster, axes: tuple[str, ...] = AXES, *, inside: bool = False
) -> Iterator[tuple[str, Requested]]:
    """One axis after the other made larger, the smallest size first, in the words of an advice.

    Tensor parallelism stays inside a node, and with `inside` everything does. What is written of the data-parallel size
    and of the accumulation would contradict, so both are left out, and the words say so.
    """
    for axis in axes:
        for size in _sizes(axis, requested, cluster, inside=inside):
            yield f"`{axis}: {size}`{_left_out(requested)}", _free(requested, axis, size)


def pairs(requested: Requested, cluster: Cluster) -> Iterator[tuple[str, Requested]]:
    """Two axes made larger at once, the fewest ranks first."""
    found = [
        (one * other, f"`{first}: {one}` and `{second}: {other}`{_left_out(requested)}", changed)
        for first, second in PAIRS
        for one in _sizes(first, requested, cluster)
        for other in _sizes(second, requested, cluster)
        for changed in (_free(_free(requested, first, one), second, other),)
    ]
    for _, text, changed in sorted(found, key=lambda each: each[0]):
        yield text, changed


def _sizes(axis: str, requested: Requested, cluster: Cluster, *, inside: bool = False) -> list[int]:
    within = cluster.devices_per_node if inside or axis == "tensor_parallel_size" else cluster.devices
    return [size for size in divisors(within) if size > (getattr(requested, axis) or 1)]


def _free(requested: Requested, axis: str, size: int) -> Requested:
    wanted = {axis: size}
    return replace(requested, data_parallel_size=None, gradient_accumulation_steps=None, **wanted)  # type: ignore[arg-type]


def _left_out(requested: Requested) -> str:
    keys = ("data_parallel_size", "gradient_accumulation_steps")
    written = [f"`{key}`" for key in keys if getattr(requested, key) is not None]
    return f", {' and '.join(written)} left out" if written else ""
