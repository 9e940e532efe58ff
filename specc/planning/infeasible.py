"""What to say when no layout fits, and the first change after which one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from itertools import combinations

from specc.diagnostics import At, Finding
from specc.ir.experiment import Requested, Stage, Training
from specc.ir.plan import Cluster, Layout, Memory
from specc.planning.catalogue import DEVICES, has_precision
from specc.planning.legality import SIZES
from specc.planning.memory import allowances, memory_limit
from specc.planning.sizes import larger, pairs
from specc.planning.text import article, gib

Fits = Callable[[Requested, Cluster], bool]
Change = tuple[str, Requested, Cluster]

MAX_NODES = 4096


def does_not_fit(stage: Stage, cluster: Cluster, layout: Layout, memory: Memory, fits: Fits) -> Finding:
    """The finding for a stage whose smallest layout is still too large; `help` was planned before it is given."""
    assert isinstance(stage.work, Training)
    device = cluster.device
    limit = memory_limit(device, layout.devices)
    headline = f"a device needs {gib(memory.total)}, and {article(device.title)} offers {gib(limit)}"
    needs = ", ".join(f"{cause} {gib(size)}" for cause, size in memory.by_cause)
    held_back = ", ".join(f"{cause} {gib(size)}" for cause, size in allowances(device, layout.devices))
    requested = stage.work.requested
    changes = _changes(requested, cluster, stage.work.precision)
    first = next((text for text, wanted, machines in changes if fits(wanted, machines)), None)
    return Finding(
        "SPC406",
        headline,
        (*_places(stage, requested), At(("cluster", "device")), *(At(("cluster", key)) for key in cluster.size_keys)),
        notes=(f"needs: {needs}", f"of {gib(device.memory_bytes)} the device keeps: {held_back}"),
        help=first or f"no change of layout fits, nor up to {MAX_NODES:,} nodes: use a smaller model or context",
    )


def _places(stage: Stage, requested: Requested) -> tuple[At, ...]:
    """What the user wrote about the layout, else the section."""
    path = ("stages", stage.name, "parallelism")
    written = ("zero_stage", "activation_checkpointing", "micro_batch_size", "engine", *(key for key, _ in SIZES))
    places = [At((*path, name)) for name in written if getattr(requested, name) is not None]
    return tuple(places or [At(path)])


def _changes(requested: Requested, cluster: Cluster, precision: str) -> Iterator[Change]:
    """From the cheapest to the dearest: take back one request, then several, divide more, ask for more machines."""
    eased = list(_eased(requested))
    free, together = requested, ""
    for size in range(1, len(eased) + 1):
        for chosen in combinations(eased, size):
            free = _merge(requested, [wanted for _, wanted in chosen])
            yield "use " + " and ".join(text for text, _ in chosen), free, cluster
            together = "".join(f" and {text}" for text, _ in chosen)
    both = ((requested, ""), (free, together)) if eased else ((requested, ""),)
    for divide in (larger, pairs):
        for wanted, and_also in both:
            yield from ((f"use {text}{and_also}", changed, cluster) for text, changed in divide(wanted, cluster))
    for wanted, and_also in both:
        yield from _more_nodes(wanted, cluster, and_also)
    for wanted, and_also in both:
        yield from _larger_devices(wanted, cluster, precision, and_also)
    for machines in (_more_nodes(free, cluster, together), _larger_devices(free, cluster, precision, together)):
        yield from _divided_on(machines)


def _divided_on(machines: Iterator[Change]) -> Iterator[Change]:
    """Other machines, and the model divided more among them."""
    for use, requested, cluster in machines:
        for divide in (larger, pairs):
            for text, changed in divide(requested, cluster):
                yield f"{use} and {text}", changed, cluster


def _eased(requested: Requested) -> Iterator[tuple[str, Requested]]:
    if requested.activation_checkpointing not in (None, "full"):
        yield "`activation_checkpointing: full`", replace(requested, activation_checkpointing="full")
    if requested.zero_stage is not None and requested.zero_stage < 3:
        yield "`zero_stage: 3`", replace(requested, zero_stage=3)
    if requested.engine == "torch":
        yield "`engine: deepspeed`", replace(requested, engine="deepspeed")
    if requested.engine == "deepspeed":
        yield "`engine: torch`", replace(requested, engine="torch")
    if (requested.micro_batch_size or 1) > 1:
        smaller = replace(requested, micro_batch_size=1, gradient_accumulation_steps=None)
        yield "`micro_batch_size: 1`", smaller


def _merge(original: Requested, changes: Iterable[Requested]) -> Requested:
    """Every change at once; no two of `_eased` change the same value."""
    changed = {
        each.name: getattr(change, each.name)
        for change in changes
        for each in fields(Requested)
        if getattr(change, each.name) != getattr(original, each.name)
    }
    return replace(original, **changed)


def _more_nodes(requested: Requested, cluster: Cluster, and_also: str) -> Iterator[Change]:
    """Doubling. What is written of the data-parallel size would contradict the devices, so it is left out."""
    if requested.data_parallel_size is not None:
        requested = replace(requested, data_parallel_size=None)
        and_also = f"{and_also}, `data_parallel_size` left out"
    nodes = cluster.nodes * 2
    while nodes <= MAX_NODES:
        yield f"use {nodes:,} nodes{and_also}", requested, replace(cluster, nodes=nodes)
        nodes *= 2


def _larger_devices(requested: Requested, cluster: Cluster, precision: str, and_also: str) -> Iterator[Change]:
    """From the next larger one up, by name where two are equal."""
    current = cluster.device.memory_bytes
    larger = [
        name for name, known in DEVICES.items() if known.memory_bytes > current and has_precision(known, precision)
    ]
    for name in sorted(larger, key=lambda name: (DEVICES[name].memory_bytes, name)):
        if name != "cpu":
            yield f"use a `{name}` device{and_also}", requested, replace(cluster, device=DEVICES[name])
