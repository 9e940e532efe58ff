"""Requests that no plan can keep: sizes that do not divide, and features that an engine does not combine.

Each mistake is one finding, and every `help` was tried: the request with that value has no finding left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import gcd, lcm

from specc.diagnostics import At, Finding
from specc.ir.experiment import Requested, Stage, Training
from specc.ir.model import Model
from specc.ir.plan import Cluster
from specc.planning.batch import divisors
from specc.planning.combinations import ENGINES, FEATURES, KEYS, Refusal, allows, features, refusals
from specc.planning.mesh import Mesh, mesh_of

SIZES = (
    ("data_parallel_size", "data"),
    ("tensor_parallel_size", "tensor"),
    ("pipeline_parallel_size", "pipeline"),
    ("context_parallel_size", "context"),
)
"""Keys whose product is the number of devices, with their names in a `Mesh`."""


def unfit(model: Model, stage: Stage, training: Training, cluster: Cluster) -> tuple[Finding, ...]:
    """Everything about the request of a stage that cannot be kept on this cluster; empty where a plan can try."""
    return tuple(_findings(model, stage, training.requested, cluster, advise=True))


def legal(model: Model, stage: Stage, requested: Requested, cluster: Cluster) -> bool:
    """Whether a plan can try a request."""
    return next(_findings(model, stage, requested, cluster, advise=False), None) is None


def engines(model: Model, requested: Requested, cluster: Cluster) -> tuple[str, ...]:
    """The engines to try for a request, preferred first; empty where none combines what is asked for.

    Those that cannot divide this model are left out, as long as one can. One process needs no engine, DeepSpeed comes
    where that does not fit, and a TPU is driven through XLA.
    """
    if requested.engine:
        return (requested.engine,)
    if _is_tpu(cluster):
        return tuple(_allowing(("xla",), model, requested, cluster))
    alone = cluster.devices == 1 and not requested.zero_stage
    if alone and cluster.device.name == "cpu":
        return ("torch",)
    order = ("torch", "deepspeed") if alone else ("deepspeed", "torch")
    return tuple(_allowing(order, model, requested, cluster)[: 1 + alone])


def zero_stages(engine: str, requested: Requested, cluster: Cluster) -> tuple[int, ...]:
    """The ZeRO stages to try: the one that is asked for, else those that the engine combines with the rest."""
    if requested.zero_stage is not None:
        return (requested.zero_stage,)
    mesh = mesh_of(requested, cluster)
    sharding = mesh.data * mesh.context
    if engine != "deepspeed" and sharding == 1:
        return (0,)
    return tuple(zero for zero in range(4) if allows(engine, features(engine, requested, zero, sharding)))


def _findings(model: Model, stage: Stage, requested: Requested, cluster: Cluster, *, advise: bool) -> Iterator[Finding]:
    place = ("stages", stage.name, "parallelism")
    mesh = mesh_of(requested, cluster)
    impossible = tuple(_product(requested, mesh, cluster))
    # What sizes would have to divide is another question for the sizes that come instead.
    divisions = () if impossible else (*_divisions(model, requested, mesh, cluster), _layers(model, mesh))
    checks = (
        _machine(requested, cluster),
        impossible,
        *divisions,
        _stacks(model, mesh),
        _combination(requested, mesh, cluster),
        _tied(model, requested, mesh, cluster),
    )
    for finding in (finding for check in checks for finding in check):
        at = tuple(replace(place_, path=_absolute(place_.path, place)) for place_ in finding.at)
        help_text = finding.help or (_advice(finding, model, stage, requested, cluster) if advise else None)
        yield replace(finding, at=at, help=help_text)


def _divisions(model: Model, requested: Requested, mesh: Mesh, cluster: Cluster) -> tuple[Iterator[Finding], ...]:
    return (
        _heads(model, requested, mesh, cluster),
        _context(model, requested, mesh, cluster),
        _vocabulary(model, requested, mesh, cluster),
        _experts(model, mesh),
    )


def _absolute(path: tuple[str | int, ...], place: tuple[str, str, str]) -> tuple[str | int, ...]:
    return path if path[0] in ("model", "cluster", "stages") else (*place, *path)


def _machine(requested: Requested, cluster: Cluster) -> Iterator[Finding]:
    """An engine that does not drive the device."""
    if requested.engine is None or (requested.engine == "xla") == _is_tpu(cluster) or cluster.device.name == "cpu":
        return
    runs_on = "TPUs and CPUs" if requested.engine == "xla" else "GPUs and CPUs"
    yield Finding(
        "SPC418",
        f"engine `{requested.engine}` does not drive {cluster.device.title}",
        (At(("engine",), f"runs on {runs_on}"), At(("cluster", "device"))),
        help="use `engine: xla`" if _is_tpu(cluster) else "use `engine: deepspeed` or `engine: torch`",
    )


def _product(requested: Requested, mesh: Mesh, cluster: Cluster) -> Iterator[Finding]:
    """Sizes whose product is not the number of devices; experts that take more ranks than there are to share."""
    sharing = mesh.data * mesh.context
    if mesh.ranks != cluster.devices:
        written = [(key, name) for key, name in SIZES if getattr(requested, key) is not None]
        product = " x ".join(f"{name} {getattr(mesh, name)}" for _, name in written)
        ranks = mesh.ranks if requested.data_parallel_size else mesh.fixed
        is_ = f"is {ranks:,} ranks" if len(written) > 1 else f"needs {ranks:,} ranks"
        verb = is_ if requested.data_parallel_size else f"takes {ranks:,} ranks"
        headline = f"{product} {verb}, and the cluster has {_devices(cluster.devices)}"
        places = tuple(At((key,)) for key, _ in written)
        sizes = f"{cluster.nodes:,} x {cluster.devices_per_node:,} devices" if cluster.devices > 1 else "1 device"
        first, *others = cluster.size_keys
        at = (*places, At(("cluster", first), sizes), *(At(("cluster", key)) for key in others))
        yield Finding("SPC401", headline, at, help=_following(requested, mesh, cluster))
    elif requested.zero_stage and sharing == 1 and requested.engine in ("torch", "xla"):
        yield Finding(
            "SPC401",
            f"ZeRO stage {requested.zero_stage} shards over data-parallel ranks, and there is 1",
            (At(("zero_stage",)), At(("engine",))),
            help="leave `zero_stage` out",
        )
    elif sharing % mesh.expert:
        yield Finding(
            "SPC401",
            f"{mesh.expert} expert-parallel ranks cannot be taken out of {sharing} data and context parallel ones",
            (At(("expert_parallel_size",), f"{sharing} / {mesh.expert} leaves {sharing % mesh.expert}"),),
        )


def _following(requested: Requested, mesh: Mesh, cluster: Cluster) -> str | None:
    """The data-parallel size that the others leave; None where they leave none."""
    if not requested.data_parallel_size or cluster.devices % mesh.fixed:
        return None
    return f"use `data_parallel_size: {cluster.devices // mesh.fixed}`, or leave it out: it follows"


def _more_nodes(model: Model, stage: Stage, requested: Requested, cluster: Cluster) -> str | None:
    """The nearest number of nodes that the sizes fill; None where these cannot be either."""
    mesh = mesh_of(requested, cluster)
    needed = mesh.ranks if requested.data_parallel_size else mesh.fixed
    unit = needed // gcd(needed, cluster.devices_per_node)
    nodes = unit if requested.data_parallel_size else max(1, round(cluster.nodes / unit)) * unit
    if not legal(model, stage, requested, replace(cluster, nodes=nodes)):
        return None
    return f"{nodes:,} node{'s' if nodes > 1 else ''}"


def _heads(model: Model, requested: Requested, mesh: Mesh, cluster: Cluster) -> Iterator[Finding]:
    """Heads that tensor parallelism, or DeepSpeed's all-to-alls over the sequence, cannot deal out evenly."""
    heads, groups = _size(model, "num_heads"), _size(model, "num_kv_heads")
    if heads is None:
        return
    if heads % mesh.tensor:
        yield _indivisible("SPC402", heads, "query heads", mesh.tensor, "tensor", ("model", "attention", "num_heads"))
    elif groups is not None and groups % mesh.tensor:
        place = ("model", "attention", "num_kv_heads")
        yield _indivisible("SPC403", groups, "key/value heads", mesh.tensor, "tensor", place)
    fewest = groups or heads
    if _engine(model, requested, cluster) == "deepspeed" and fewest % mesh.context:
        name, words = ("num_kv_heads", "key/value heads") if groups else ("num_heads", "query heads")
        found = _indivisible("SPC403", fewest, words, mesh.context, "context", ("model", "attention", name))
        yield replace(found, notes=("DeepSpeed exchanges heads for parts of the sequence (arXiv:2309.14509)",))


def _stacks(model: Model, mesh: Mesh) -> Iterator[Finding]:
    """A pipeline runs through one stack of blocks."""
    if model.encoder is None or mesh.pipeline == 1:
        return
    headline = f"an encoder-decoder has two stacks, and {mesh.pipeline} pipeline stages cut one"
    note = "every stage of the decoder would have to be sent what the encoder made"
    yield Finding("SPC146", headline, (At(("pipeline_parallel_size",)), At(("model", "kind"))), (note,))


def _layers(model: Model, mesh: Mesh) -> Iterator[Finding]:
    pieces = mesh.pipeline * mesh.chunks
    if model.shares_blocks and mesh.pipeline > 1:
        # A block on two stages would be two.
        headline = f"blocks that layers share cannot be split into {mesh.pipeline} pipeline stages"
        yield Finding("SPC404", headline, (At(("pipeline_parallel_size",)), At(("model", "layer_sharing"))))
        return
    if mesh.pipeline == 1 or model.encoder is not None or model.num_layers % pieces == 0:
        return
    # DeepSpeed's PipelineModule (`partition_method`) and torch's PipelineStage take any split; a schedule that
    # interleaves has every rank go through its chunks in step.
    if mesh.chunks == 1 and model.num_layers > mesh.pipeline:
        return
    chunks = f" x {mesh.chunks} chunks" if mesh.chunks > 1 else ""
    at = [At(("pipeline_parallel_size",)), At(("model", "num_layers"), _leaves(model.num_layers, pieces))]
    if chunks:
        at.insert(0, At(("pipeline_chunks",)))
    yield Finding(
        "SPC404", f"{model.num_layers} layers do not split into {mesh.pipeline} pipeline stages{chunks}", tuple(at)
    )


def _context(model: Model, requested: Requested, mesh: Mesh, cluster: Cluster) -> Iterator[Finding]:
    """Causal attention is balanced by giving each rank one early and one late part of the sequence."""
    if mesh.context == 1:
        return
    pairs = 1 if _engine(model, requested, cluster) == "deepspeed" else 2
    unit = pairs * mesh.context * (mesh.tensor if requested.sequence_parallel else 1)
    if model.context_length % unit:
        note = f"it must be a multiple of {pairs} x {mesh.context}" + (
            f" x {mesh.tensor}" if unit > 2 * mesh.context else ""
        )
        yield Finding(
            "SPC409",
            f"a context of {model.context_length:,} does not split over {mesh.context} context-parallel ranks",
            (At(("context_parallel_size",)), At(("model", "context_length"), _leaves(model.context_length, unit))),
            (f"{note}: each rank gets one early and one late part (torchtitan, trainer)" if pairs > 1 else note,),
        )


def _vocabulary(model: Model, requested: Requested, mesh: Mesh, cluster: Cluster) -> Iterator[Finding]:
    """The table is divided by rows, except by DeepSpeed, which leaves it whole and divides an untied head."""
    whole = _engine(model, requested, cluster) == "deepspeed" and model.is_tied
    if whole or model.vocab_size % mesh.tensor == 0:
        return
    multiple = 128 if 128 % mesh.tensor == 0 else lcm(mesh.tensor, 2)
    rows = -(-model.vocab_size // multiple) * multiple
    yield Finding(
        "SPC412",
        f"{model.vocab_size:,} rows of the vocabulary do not split over {mesh.tensor} tensor-parallel ranks",
        (At(("tensor_parallel_size",)), At(("model",), _leaves(model.vocab_size, mesh.tensor), of_key=True)),
        help=f"use `pad_vocab_size_multiple: {multiple}`: {rows:,} rows",
    )


def _experts(model: Model, mesh: Mesh) -> Iterator[Finding]:
    experts = _size(model, "num_experts")
    if mesh.expert == 1 or (experts is not None and experts % mesh.expert == 0):
        return
    if experts is None:
        headline = f"the model has no experts to divide over {mesh.expert} expert-parallel ranks"
        at = (At(("expert_parallel_size",)), At(("model", "ffn", "kind")))
        yield Finding("SPC408", headline, at, help="leave `expert_parallel_size` out")
        return
    yield _indivisible("SPC408", experts, "experts", mesh.expert, "expert", ("model", "ffn", "num_experts"))


def _combination(requested: Requested, mesh: Mesh, cluster: Cluster) -> Iterator[Finding]:
    """What the table refuses: of the engine that is asked for, else of the one that refuses least."""
    if _machine_decides(requested, cluster):
        return
    tried = (requested.engine,) if requested.engine else (("xla",) if _is_tpu(cluster) else ("deepspeed", "torch"))
    found = [tuple(refusals(engine, _used(engine, requested, mesh))) for engine in tried]
    if not all(found):
        return
    cell = min(found, key=len)[0]
    yield Finding("SPC407", _refused(cell), _places(cell, requested), (f"{cell.reason} ({cell.source})",))


def _machine_decides(requested: Requested, cluster: Cluster) -> bool:
    """Whether the engine is refused for the device already."""
    return next(_machine(requested, cluster), None) is not None


def _refused(cell: Refusal) -> str:
    if cell.feature == "zero_0":
        return f"engine `{cell.engine}` does not train right with {FEATURES[cell.feature]}"
    if cell.together is None:
        return f"engine `{cell.engine}` has no {FEATURES[cell.feature]}"
    return f"engine `{cell.engine}` does not combine {FEATURES[cell.feature]} with {FEATURES[cell.together]}"


def _places(cell: Refusal, requested: Requested) -> tuple[At, ...]:
    names = [KEYS[name] for name in (cell.feature, cell.together) if name is not None]
    written = [At((name,)) for name in names if _is_written(requested, name)]
    return (*written, *((At(("engine",)),) if requested.engine else ()))


def _is_written(requested: Requested, name: str) -> bool:
    value = getattr(requested, name)
    return value is not None and value is not False


def _tied(model: Model, requested: Requested, mesh: Mesh, cluster: Cluster) -> Iterator[Finding]:
    """PyTorch's pipeline stages own their weights; DeepSpeed keeps tied copies equal (`TiedLayerSpec`)."""
    if mesh.pipeline == 1 or not model.is_tied or _engine(model, requested, cluster) == "deepspeed":
        return
    yield Finding(
        "SPC410",
        f"tied embeddings cannot live on the first and the last of {mesh.pipeline} pipeline stages of engine `torch`",
        (At(("pipeline_parallel_size",)), At(("model", "tie_embeddings"))),
        ("torch.distributed.pipelining shares no weight between stages (torchtitan #2580 refuses it too)",),
        help="use `tie_embeddings: false`, or no pipeline",
    )


def _advice(finding: Finding, model: Model, stage: Stage, requested: Requested, cluster: Cluster) -> str | None:
    """The first change of one value, nearest to what is written, that mends the finding and brings no other."""
    others = _codes(model, stage, requested, cluster) - {finding.code}
    changes = _changes(finding, requested, model)
    tried = (text for text, changed in changes if _codes(model, stage, changed, cluster) <= others)
    ways = [next(tried, None)]
    if finding.code == "SPC401":
        ways.append(_more_nodes(model, stage, requested, cluster))
    found = [way for way in ways if way is not None]
    return f"use {', or '.join(found)}" if found else None


def _codes(model: Model, stage: Stage, requested: Requested, cluster: Cluster) -> set[str]:
    return {finding.code for finding in _findings(model, stage, requested, cluster, advise=False)}


def _changes(finding: Finding, requested: Requested, model: Model) -> Iterator[tuple[str, Requested]]:
    keys = [place.path[-1] for place in finding.at if place.path[0] == "stages" or len(place.path) == 1]
    free = replace(requested, data_parallel_size=None)
    if finding.code == "SPC407":
        yield from _engine_changes(requested)
    for key in keys:
        if key in ("engine", "zero_stage", "sequence_parallel"):
            continue
        current = getattr(requested, str(key)) or 1
        for size in _near(current, (model.num_layers, *_lengths(model))):
            follows = "" if requested.data_parallel_size is None else " and leave `data_parallel_size` out"
            yield f"`{key}: {size}`{follows}", replace(free, **{str(key): size})  # type: ignore[arg-type]


def _engine_changes(requested: Requested) -> Iterator[tuple[str, Requested]]:
    if requested.zero_stage is not None:
        for zero in sorted(range(4), key=lambda zero: abs(zero - (requested.zero_stage or 0))):
            yield f"`zero_stage: {zero}`", replace(requested, zero_stage=zero)
    for engine in ENGINES:
        yield f"`engine: {engine}`", replace(requested, engine=engine)
    if requested.sequence_parallel:
        yield "`sequence_parallel: false`", replace(requested, sequence_parallel=False)


def _near(current: int, wholes: Iterable[int]) -> list[int]:
    """Divisors of what is to be divided, the nearest to the current size first, smaller before larger, nothing last."""
    sizes = {size for whole in wholes for size in divisors(whole) if size <= 4 * current} - {current}
    return sorted(sizes, key=lambda size: (size == 1, abs(size - current), size))


def _lengths(model: Model) -> tuple[int, ...]:
    counts = (_size(model, name) for name in ("num_heads", "num_kv_heads", "num_experts"))
    return (model.context_length, *(count for count in counts if count))


def _indivisible(code: str, count: int, things: str, ranks: int, axis: str, place: tuple[str | int, ...]) -> Finding:
    headline = f"{count} {things} cannot be split over {ranks} {axis}-parallel ranks"
    return Finding(code, headline, (At((f"{axis}_parallel_size",)), At(place, _leaves(count, ranks))))


def _leaves(number: int, by: int) -> str:
    return f"{number:,} / {by:,} leaves {number % by:,}"


def _size(model: Model, name: str) -> int | None:
    """A size that the kinds of the blocks state in their fields; None where none does."""
    for layer in model.blocks:
        for _, component in layer.parts:
            value = component.fields.get(name)
            if isinstance(value, int):
                return value
    return None


def _used(engine: str, requested: Requested, mesh: Mesh) -> tuple[str, ...]:
    return features(engine, requested, requested.zero_stage, mesh.data * mesh.context)


def _allowing(names: tuple[str, ...], model: Model, requested: Requested, cluster: Cluster) -> list[str]:
    mesh = mesh_of(requested, cluster)
    allowed = [name for name in names if allows(name, _used(name, requested, mesh))]
    return [name for name in allowed if _divides(model, replace(requested, engine=name), mesh, cluster)] or allowed


def _divides(model: Model, requested: Requested, mesh: Mesh, cluster: Cluster) -> bool:
    """Whether the engine of a request can divide the model as it asks."""
    checks = (*_divisions(model, requested, mesh, cluster), _tied(model, requested, mesh, cluster))
    return all(next(check, None) is None for check in checks)


def _engine(model: Model, requested: Requested, cluster: Cluster) -> str | None:
    return requested.engine or next(iter(engines(model, requested, cluster)), None)


def _devices(count: int) -> str:
    return f"{count:,} device" + ("s" if count != 1 else "")


def _is_tpu(cluster: Cluster) -> bool:
    return cluster.device.name.startswith("tpu_")
