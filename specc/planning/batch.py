"""Batch algebra: global batch = micro-batch x gradient accumulation x data-parallel size, in sequences."""

from __future__ import annotations

from specc.ir.experiment import Requested

Split = tuple[int, int]
"""Micro-batch size and gradient accumulation steps."""


def splits(global_batch: int, ranks: int, requested: Requested) -> tuple[Split, ...]:
    """Every split of the batch that keeps what was requested, smallest micro-batch first; empty when there is none."""
    if global_batch % ranks:
        return ()
    per_rank = global_batch // ranks
    return tuple(
        (micro, per_rank // micro)
        for micro in divisors(per_rank)
        if requested.micro_batch_size in (None, micro)
        and requested.gradient_accumulation_steps in (None, per_rank // micro)
    )


def fitting(choices: tuple[Split, ...], sizes: tuple[int, ...], ranks: int) -> tuple[Split, ...]:
    """Splits whose micro-batch also divides batches of these sizes among the ranks; all of them where none does."""
    some = tuple(split for split in choices if all(size % (split[0] * ranks) == 0 for size in sizes))
    return some or choices


def divisors(number: int) -> tuple[int, ...]:
    """All divisors, ascending."""
    low = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(low + [number // d for d in reversed(low) if d * d != number])
