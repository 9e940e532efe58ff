"""What to say of a batch that does not divide among the ranks, and the nearest change after which it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from specc.diagnostics import At, Finding
from specc.ir.experiment import Requested, Stage, Training
from specc.ir.plan import Cluster
from specc.planning.batch import divisors
from specc.planning.mesh import mesh_of
from specc.planning.sizes import larger

Fits = Callable[[Requested, int], bool]
"""Whether a request has a plan with a global batch of so many sequences."""


def indivisible(stage: Stage, training: Training, cluster: Cluster, fits: Fits) -> Finding:
    """The finding for a batch that `splits` cannot split; `help` was planned before it is given.

    First what leaves the experiment as it is, another layout; then another batch.
    """
    ranks = mesh_of(training.requested, cluster).data
    among = _devices(ranks) if ranks == cluster.devices else _ranks(ranks)
    wanted, batch = training.requested, training.global_batch_size
    micro, steps = wanted.micro_batch_size, wanted.gradient_accumulation_steps
    unit = ranks * (micro or 1) * (steps or 1)
    at = _places(stage, wanted, unit, cluster)
    if micro and steps:
        headline = f"{_product(micro, steps, among)} make {unit:,} sequences, and the global batch has {batch:,}"
        return Finding("SPC301", headline, at, help=_both_given(training, ranks))
    parts = f"micro-batches of {micro:,} on {among}" if micro else among
    if steps:
        parts = f"{steps:,} accumulation steps on {among}"
    headline = f"a global batch of {batch:,} sequences does not divide among {parts}"
    return Finding(
        "SPC301", headline, at, notes=_remainder(batch, unit), help=_advice(training, ranks, unit, cluster, fits)
    )


def _both_given(training: Training, ranks: int) -> str:
    """Either value follows from the other when the batch allows it; else the batch must change."""
    wanted, batch = training.requested, training.global_batch_size
    micro, steps = wanted.micro_batch_size or 1, wanted.gradient_accumulation_steps or 1
    if batch % (micro * ranks) == 0:
        return f"use `gradient_accumulation_steps: {batch // (micro * ranks)}`, or leave it out: it follows"
    if batch % (steps * ranks) == 0:
        return f"use `micro_batch_size: {batch // (steps * ranks)}`"
    return f"use a global batch of {_batch(micro * steps * ranks, training.context_length)}"


def _advice(training: Training, ranks: int, unit: int, cluster: Cluster, fits: Fits) -> str:
    wanted, batch = training.requested, training.global_batch_size
    near = [text for text, changed in _near(wanted, batch // ranks) if batch % ranks == 0 and fits(changed, batch)]
    if near:
        return "use " + " or ".join(near[:2])
    choices = [size for size in (batch // unit * unit, batch // unit * unit + unit) if size]
    batches = [size for size in choices if fits(wanted, size)] or choices
    other = "a global batch of " + " or ".join(_batch(size, training.context_length) for size in batches)
    layouts = larger(wanted, cluster, ("tensor_parallel_size", "context_parallel_size"), inside=True)
    layout = next((text for text, changed in layouts if fits(changed, batch)), None)
    return f"use {layout}, or {other}" if layout else f"use {other}"


def _near(wanted: Requested, per_rank: int) -> Iterator[tuple[str, Requested]]:
    """The sizes on both sides of what is written that divide the batch of a rank, the nearer one first."""
    for key in ("micro_batch_size", "gradient_accumulation_steps"):
        written = getattr(wanted, key)
        if written is not None:
            sides = (
                [n for n in divisors(per_rank) if n < written][-1:],
                [n for n in divisors(per_rank) if n > written][:1],
            )
            for size in sorted((n for side in sides for n in side), key=lambda n: (abs(n - written), n)):
                new = {key: size}
                yield f"`{key}: {size}`", replace(wanted, **new)  # type: ignore[arg-type]


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


def _places(stage: Stage, wanted: Requested, unit: int, cluster: Cluster) -> tuple[At, ...]:
    parallelism = ("stages", stage.name, "parallelism")
    places = [At(("stages", stage.name, "global_batch_size"), f"not a multiple of {unit:,} sequences")]
    if wanted.micro_batch_size:
        places.append(At((*parallelism, "micro_batch_size")))
    if wanted.gradient_accumulation_steps:
        places.append(At((*parallelism, "gradient_accumulation_steps")))
    if unit > (wanted.micro_batch_size or 1) * (wanted.gradient_accumulation_steps or 1):
        places += [At(("cluster", key)) for key in cluster.size_keys]
    return tuple(places)
