"""Layers that have their weights in common."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.numbers import either, nearest_divisors
from specc.spec.base import Node, identity

_PATH = ("model", "layer_sharing")


class SharingSpec(Node):
    """Fewer blocks than layers: each is used several times, and keeps keys and values of its own each time.

    `consecutive`: each block so often in a row (Liu et al. 2024, MobileLLM, arXiv:2402.14905). `cyclic`: all of them
    again and again (Dehghani et al. 2019, Universal Transformers, arXiv:1807.03819; with `distinct: 1` it is ALBERT,
    Lan et al. 2020, arXiv:1909.11942, section 3.1).
    """

    distinct: int = identity("Blocks with weights of their own; they divide the layers.", ge=1, le=10_000)
    order: Literal["consecutive", "cyclic"] = identity("In what order they are used.", "consecutive")

    @property
    def index(self) -> str:
        """The place of a layer's block among the P blocks of L layers, as Python."""
        return "layer % P" if self.order == "cyclic" else "layer // (L // P)"

    def shared(self, layers: tuple[ir.Layer, ...]) -> tuple[ir.Layer, ...]:
        """The blocks that layers use, equal neighbours as one."""
        each = [layer for layer in layers for _ in range(layer.count)]
        firsts = {self.block(index, len(each)): layer for index, layer in reversed(list(enumerate(each)))}
        blocks = itertools.groupby((firsts[block] for block in range(self.distinct)), key=id)
        alike = (tuple(some) for _, some in blocks)
        return tuple(ir.Layer(len(some), some[0].parts, len(each) // self.distinct) for some in alike)

    def block(self, layer: int, num_layers: int) -> int:
        """The block that a layer uses."""
        return layer % self.distinct if self.order == "cyclic" else layer // (num_layers // self.distinct)

    def check_count(self, num_layers: int) -> Iterator[Finding]:
        """Layers that the blocks cannot share evenly."""
        if num_layers % self.distinct == 0:
            return
        yield Finding(
            "SPC123",
            f"{num_layers} layers cannot be shared evenly among {self.distinct} blocks",
            (
                At((*_PATH, "distinct"), f"{num_layers} / {self.distinct} leaves {num_layers % self.distinct}"),
                At(("model", "num_layers")),
            ),
            help=f"use {either(nearest_divisors(num_layers, self.distinct))} blocks",
        )

    def check_sorts(self, sorts: Sequence[Hashable], path: tuple[str, ...]) -> Iterator[Finding]:
        """Layers that share a block and are of two sorts; `path` is of what says so."""
        torn = self._torn(sorts)
        if torn is None:
            return
        order: Literal["consecutive", "cyclic"] = "consecutive" if self.order == "cyclic" else "cyclic"
        other = SharingSpec(distinct=self.distinct, order=order)
        helped = other._torn(sorts) is None
        yield Finding(
            "SPC122",
            f"layers {torn[0]} and {torn[1]} share a block, and are not of one sort",
            (At(path), At((*_PATH, "distinct"))),
            ("layers count from 0",),
            help=f"use `order: {order}`" if helped else f"let layers repeat as their {self.distinct} blocks do",
        )

    def _torn(self, sorts: Sequence[Hashable]) -> tuple[int, int] | None:
        """Two layers of different sorts with the same block, the first such; None where there are none."""
        first: dict[int, int] = {}
        for layer, sort in enumerate(sorts):
            other = first.setdefault(self.block(layer, len(sorts)), layer)
            if sorts[other] != sort:
                return other, layer
        return None

    def check_alone(self, why: str, path: tuple[str, ...], num_layers: int) -> Iterator[Finding]:
        """Something that counts on every block being used once; `why` is what it does."""
        times = num_layers // self.distinct
        if times > 1:
            yield Finding(
                "SPC124",
                f"`{'.'.join(path[1:])}` {why}, and `layer_sharing` uses each {times} times",
                (At(path), At(_PATH)),
                help=f"leave `{path[1]}.{path[2]}` out" if len(path) > 2 else f"leave `{path[1]}` out",
            )
