"""Groups of master weights and states that DeepSpeed keeps on NVMe, brought to memory while they are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def at_hand(optimizer: Any, group: int, *, changed: bool = False) -> Iterator[bool]:
    """The flat tensor of a group and its states in memory, and whether only for now; written back where `changed`."""
    swaps = getattr(optimizer, "_swappable_optimizer_subgroup", None)
    if swaps is None or not swaps(group):
        yield False
        return
    optimizer._optimizer_states_and_gradient_swap_in(group)
    try:
        yield True
    finally:
        if changed:
            optimizer._optimizer_states_and_gradient_swap_out(group)
        else:
            optimizer._release_swap_buffers(group)
