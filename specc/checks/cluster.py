"""Jobs that the cluster would refuse, stop or lose."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.diagnostics.near import nearest
from specc.ir import Partition, Plan, Stage, StagePlan, Training

_HOUR = 3600.0
# Half of the distance is lost on average. One failure per 50,000 device hours (Grattafiori et al. 2024,
# arXiv:2407.21783, section 3.3.4: 419 in 54 days of 16,384 GPUs) is one in four days on 512 devices, so that four hours
# between checkpoints cost 2 %; preempting queues stop jobs far more often.
_LARGEST_LOSS_S = 4 * _HOUR
_DEVICE_HOURS_PER_FAILURE = 50_000


def check_jobs(plan: Plan) -> Iterator[Finding]:
    """Everything that Slurm is told, against what the site offers and what the stages take."""
    if not plan.cluster.slurm:
        return
    yield from _partition(plan)
    for stage in plan.experiment.stages:
        placed = plan.stage(stage.name)
        if isinstance(stage.work, Training) and placed.layout is not None and placed.step_time_s:
            yield from _stops(plan, stage, placed)
            yield from _loses(plan, stage, stage.work, placed.step_time_s)
            yield from _warned_too_late(plan, stage, placed)


def _partition(plan: Plan) -> Iterator[Finding]:
    cluster, name = plan.cluster, plan.cluster.slurm["partition"]
    if name is None or not cluster.partitions:
        return
    at = ("cluster", "slurm", "partition")
    known = cluster.partitions.get(name)
    if known is None:
        near = nearest(name, cluster.partitions)
        listed = ", ".join(f"`{other}`" for other in cluster.partitions)
        help_text = f"did you mean `{near}`?" if near else f"it has {listed}"
        places = (At(at), At(("cluster", "partitions"), of_key=True))
        yield Finding("SPC702", f"the cluster has no partition `{name}`", places, help=help_text)
        return
    yield from _too_much(plan, name, known)
    yield from _too_much_of_a_node(plan, name, known)


def _too_much(plan: Plan, name: str, partition: Partition) -> Iterator[Finding]:
    """Devices, nodes and time that the partition does not give."""
    cluster, minutes = plan.cluster, plan.cluster.slurm["time_limit_minutes"]
    place = ("cluster", "partitions", name)
    offered, asked = partition.devices_per_node, cluster.devices_per_node
    if offered is not None and asked > offered:
        yield Finding(
            "SPC702",
            f"partition `{name}` has {offered:,} devices per node, and the job asks for {asked:,}",
            (At(("cluster", "devices_per_node")), At((*place, "devices_per_node"))),
            help=f"use `devices_per_node: {offered}`",
        )
    if partition.nodes is not None and cluster.nodes > partition.nodes:
        yield Finding(
            "SPC702",
            f"partition `{name}` gives a job {partition.nodes:,} nodes, and it asks for {cluster.nodes:,}",
            (At(("cluster", "nodes")), At((*place, "nodes"))),
            help=f"use `nodes: {partition.nodes}`",
        )
    if partition.max_time_s is not None and minutes * 60 > partition.max_time_s:
        yield Finding(
            "SPC702",
            f"partition `{name}` stops jobs after {_about(partition.max_time_s)}, and the job asks for "
            f"{_about(minutes * 60)}",
            (At(("cluster", "slurm", "time_limit")), At((*place, "max_time"))),
            ("Slurm leaves such a job pending for ever (PartitionTimeLimit)",),
            help=f"use `time_limit: {_limit(partition.max_time_s)}`; a job that is requeued goes on where it was",
        )


def _too_much_of_a_node(plan: Plan, name: str, partition: Partition) -> Iterator[Finding]:
    cluster, slurm = plan.cluster, plan.cluster.slurm
    place = ("cluster", "partitions", name)
    tasks, each = cluster.devices_per_node, slurm["cpus_per_task"]
    if partition.cpus_per_node is not None and tasks * each > partition.cpus_per_node:
        most = partition.cpus_per_node // tasks
        yield Finding(
            "SPC706",
            f"the job asks a node for {tasks * each:,} CPU cores, and a node of `{name}` has "
            f"{partition.cpus_per_node:,}",
            (
                At(("cluster", "slurm", "cpus_per_task"), f"{tasks:,} devices x {each:,} cores"),
                At((*place, "cpus_per_node")),
            ),
            help=f"use `cpus_per_task: {most}`" if most else None,
        )
    mem = None if slurm["mem_gib"] is None else slurm["mem_gib"] * 2**30
    if mem is not None and partition.mem_per_node is not None and mem > partition.mem_per_node:
        offered = partition.mem_per_node / 2**30
        yield Finding(
            "SPC706",
            f"the job asks a node for {slurm['mem_gib']:,.0f} GiB, and a node of `{name}` has {offered:,.0f} GiB",
            (At(("cluster", "slurm", "mem")), At((*place, "mem_per_node"))),
            help=f"use `mem: {int(offered * 15 / 16)} GiB`: the system keeps some for itself",
        )


def _stops(plan: Plan, stage: Stage, placed: StagePlan) -> Iterator[Finding]:
    limit = plan.cluster.slurm["time_limit_minutes"] * 60
    duration = placed.duration_s
    if duration is None or duration <= limit or plan.cluster.slurm["requeue"]:
        return
    yield Finding(
        "SPC701",
        f"stage `{stage.name}` needs about {_about(duration)}, and its job stops after {_about(limit)}",
        (
            At(("cluster", "slurm", "requeue")),
            At(("cluster", "slurm", "time_limit")),
            At(("stages", stage.name, "duration"), _arithmetic(placed)),
        ),
        help="use `requeue: true`: the job is queued again and goes on where it was",
        severity="warning",
    )


def _arithmetic(placed: StagePlan) -> str:
    return f"{placed.steps:,} steps x {placed.step_time_s:,.3g} s"


def _loses(plan: Plan, stage: Stage, work: Training, step_s: float) -> Iterator[Finding]:
    every = work.options.get("checkpoint_every")
    if every is None or every * step_s <= _LARGEST_LOSS_S:
        return
    steps = int(float(f"{max(1.0, _LARGEST_LOSS_S / 2 / step_s):.1g}"))
    days = _DEVICE_HOURS_PER_FAILURE / plan.cluster.devices / 24
    yield Finding(
        "SPC703",
        f"a failure of stage `{stage.name}` can lose {_about(every * step_s)}: checkpoints are {every:,} steps apart",
        (
            At(("stages", stage.name, "checkpoint"), f"{every:,} steps x {step_s:,.3g} s"),
            *(At(("cluster", key)) for key in plan.cluster.size_keys),
        ),
        (
            f"{plan.cluster.devices:,} devices fail about once in {days:,.0f} days "
            "(arXiv:2407.21783, section 3.3.4), and a job that is killed without a signal saves nothing",
        ),
        help=f"use `checkpoint: {{every: {steps} steps}}`, which is {_about(steps * step_s)}",
        severity="off" if every == _default(work) else "warning",
    )


def _default(work: Training) -> int | None:
    """What nobody has to write: a tenth of the stage. Whoever wants to hear of it asks for the code."""
    return None if work.steps is None else max(1, work.steps // 10)


def _warned_too_late(plan: Plan, stage: Stage, placed: StagePlan) -> Iterator[Finding]:
    """Between the signal and the kill, the step that is under way ends and a checkpoint is written."""
    bandwidth, warning = plan.cluster.checkpoint_bandwidth, plan.cluster.slurm["signal_delay_seconds"]
    if bandwidth is None or placed.checkpoint_bytes is None or placed.step_time_s is None:
        return
    writing = placed.checkpoint_bytes / bandwidth
    needed = writing + placed.step_time_s
    if needed <= warning:
        return
    size = f"{placed.checkpoint_bytes / 2**30:,.1f} GiB"
    rounded = -(-int(needed * 1.25) // 30) * 30
    yield Finding(
        "SPC704",
        f"{warning} s of warning is shorter than a step and a checkpoint of stage `{stage.name}` ({needed:,.0f} s)",
        (
            At(("cluster", "slurm", "signal_delay")),
            At(("cluster", "checkpoint_bandwidth"), f"{size} in {writing:,.0f} s"),
        ),
        (f"one step takes {placed.step_time_s:,.3g} s",),
        help=f"use `signal_delay: {rounded}s`",
    )


def _about(seconds: float) -> str:
    """For people: 350 h, 5.2 h, 12 min."""
    if seconds < 90 * 60:
        return f"{seconds / 60:,.0f} min" if seconds >= 120 else f"{seconds:,.0f} s"
    hours = seconds / _HOUR
    return f"{hours:,.1f}".removesuffix(".0") + " h" if hours < 100 else f"{hours:,.0f} h"


def _limit(seconds: int) -> str:
    """As the language writes it, nothing rounded."""
    size, unit = (3600, "h") if seconds % 3600 == 0 else (60, "min") if seconds % 60 == 0 else (1, "s")
    return f"{seconds // size}{unit}"
