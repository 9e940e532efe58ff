"""Batch algebra: global batch = micro-batch x gradient accumulation x data-parallel size, in sequences."""

from __future__ import annotations

from specc.diagnostics import At, Finding
from specc.ir.experiment import Requested, Stage, Training

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


def divisors(number: int) -> tuple[int, ...]:
    """All divisors, ascending."""
    low = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return tuple(low + [number // d for d in reversed(low) if d * d != number])


def indivisible(stage: Stage, training: Training, ranks: int, devices: int) -> Finding:
    """The finding for a batch that `splits` cannot split over `ranks` data-parallel ranks of a cluster of `devices`."""
    among = _devices(ranks) if ranks == devices else _ranks(ranks)
    wanted, batch = training.requested, training.global_batch_size
    micro, steps = wanted.micro_batch_size, wanted.gradient_accumulation_steps
    unit = ranks * (micro or 1) * (steps or 1)
    at = _places(stage, wanted, unit)
    if micro and steps:
        headline = f"{_product(micro, steps, among)} make {unit:,} sequences, and the global batch has {batch:,}"
        return Finding("SPC301", headline, at, help=_both_given(training, ranks))
    parts = f"micro-batches of {micro:,} on {among}" if micro else among
    if steps:
        parts = f"{steps:,} accumulation steps on {among}"
    headline = f"a global batch of {batch:,} sequences does not divide among {parts}"
    return Finding("SPC301", headline, at, notes=_remainder(batch, unit), help=_nearest(training, unit))


def _both_given(training: Training, ranks: int) -> str:
    """Either value follows from the other when the batch allows it; else the batch must change."""
    wanted, batch = training.requested, training.global_batch_size
    micro, steps = wanted.micro_batch_size or 1, wanted.gradient_accumulation_steps or 1
    if batch % (micro * ranks) == 0:
        return f"use `gradient_accumulation_steps: {batch // (micro * ranks)}`, or leave it out: it follows"
    if batch % (steps * ranks) == 0:
        return f"use `micro_batch_size: {batch // (steps * ranks)}`"
    return f"use a global batch of {_batch(micro * steps * ranks, training.context_length)}"


def _nearest(training: Training, unit: int) -> str:
    """The multiples of `unit` on both sides of the batch; below the first there is none."""
    below = training.global_batch_size // unit * unit
    choices = [size for size in (below, below + unit) if size]
    return "use a global batch of " + " or ".join(_batch(size, training.context_length) for size in choices)


def _batch(sequences: int, context_length: int) -> str:
    return f"{sequences:,} sequences ({sequences * context_length:,} tokens)"


def _remainder(batch: int, unit: int) -> tuple[str, ...]:
    return (f"{batch:,} / {unit:,} leaves {batch % unit:,}",)


def _product(micro: int, steps: int, among: str) -> str:
    return f"micro-batches of {micro:,} x {steps:,} accumulation steps x {among}"


def _devices(ranks: int) -> str:
    return f"{ranks:,} device" + ("s" if ranks != 1 else "")


def _ranks(ranks: int) -> str:
    return f"{ranks:,} data-parallel rank" + ("s" if ranks != 1 else "")


def _places(stage: Stage, wanted: Requested, unit: int) -> tuple[At, ...]:
    parallelism = ("stages", stage.name, "parallelism")
    places = [At(("stages", stage.name, "global_batch_size"), f"not a multiple of {unit:,} sequences")]
    if wanted.micro_batch_size:
        places.append(At((*parallelism, "micro_batch_size")))
    if wanted.gradient_accumulation_steps:
        places.append(At((*parallelism, "gradient_accumulation_steps")))
    if unit > (wanted.micro_batch_size or 1) * (wanted.gradient_accumulation_steps or 1):
        places.append(At(("cluster", "nodes")))
    return tuple(places)
