"""Where XLA puts every weight: a mesh, and a table of partition specs by the names of weights.

Nothing here knows torch-xla. A mesh is axes with their sizes, and a spec names for each dimension of a tensor the axis
that divides it: what `jax.sharding.Mesh` and `jax.sharding.PartitionSpec` take, word for word, and what
`torch_xla.distributed.spmd.mark_sharding` takes too (Xu et al. 2021, "GSPMD", arXiv:2105.04663, section 3.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from runners.errors import RunError
from runners.layout import Layout

Axis = str | tuple[str, ...] | None
"""What divides one dimension of a tensor: an axis of the mesh, several of them, or nothing."""

Spec = tuple[Axis, ...]
"""One axis a dimension."""

Table = tuple[tuple[str, Spec], ...]
"""Canonical names of weights, `*` where a number of a layer stands; one row must match each weight."""

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of whole weights, by canonical name."""

AXES = ("replicate", "shard", "tensor")
"""Axes of the mesh, outermost first: devices that are numbered next to each other divide a matrix."""

ROWS: Axis = ("replicate", "shard")
"""What divides the rows of a batch."""


def mesh(layout: Layout) -> tuple[tuple[str, int], ...]:
    """Axes with their sizes, outermost first; RunError for an axis that SPMD does not have."""
    for axis in ("pipeline", "context", "expert"):
        if (size := getattr(layout, axis)) > 1:
            raise RunError(f"engine `xla` has no axis `{axis}` in its mesh, and the plan gives it {size} devices")
    if layout.zero_stage not in (0, 3):
        raise RunError(f"engine `xla` divides weights and states alike: ZeRO stage 0 or 3, and not {layout.zero_stage}")
    return tuple((axis, getattr(layout, axis)) for axis in AXES)


def table(layout: Layout, shapes: Shapes) -> Table:
    """The partition spec of every weight, numbers of layers written as `*` where all layers agree."""
    exact = {name: place(layout, name, shape) for name, shape in shapes.items()}
    general: dict[str, set[Spec]] = {}
    for name, spec in exact.items():
        general.setdefault(_general(name), set()).add(spec)
    agreed = {pattern: next(iter(specs)) for pattern, specs in general.items() if len(specs) == 1}
    rows = {_general(name) if _general(name) in agreed else name: spec for name, spec in exact.items()}
    return tuple(rows.items())


def place(layout: Layout, name: str, shape: Sequence[int]) -> Spec:
    """The spec of one weight: its dimension of tensor parallelism, and with ZeRO stage 3 another one over `shard`.

    That is the first one that `shard` divides evenly; a weight that has none, and a vector, is whole on every device.
    RunError where tensor parallelism does not divide its dimension evenly.
    """
    spec: list[Axis] = [None] * len(shape)
    split = next((axis for pattern, axis in layout.splits if fnmatchcase(name, pattern)), None)
    if split is not None and layout.tensor > 1:
        if shape[split] % layout.tensor:
            raise RunError(
                f"`{name}` has {shape[split]} values on axis {split}, and {layout.tensor} devices divide them"
            )
        spec[split] = "tensor"
    if layout.zero_stage == 3 and layout.shard > 1 and len(shape) > 1:
        free = (at for at, axis in enumerate(spec) if axis is None and shape[at] % layout.shard == 0)
        at = next(free, None)
        if at is not None:
            spec[at] = "shard"
    return tuple(spec)


def find(rows: Table, name: str) -> Spec:
    """The spec of a weight; RunError when no pattern matches its name."""
    for pattern, spec in rows:
        if pattern in (name, _general(name)):
            return spec
    raise RunError(f"no partition spec matches the weight `{name}`")


def _general(name: str) -> str:
    """`layers.3.norm.weight` as `layers.*.norm.weight`."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
