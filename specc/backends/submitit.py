"""`submit.py`: every stage as a Slurm job, with its dependencies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice
from specc.backends.programs import program

PATH = "submit.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One file, where the cluster has Slurm."""
    if not plan.cluster.slurm:
        return ()
    jobs = tuple(_job(plan, stage) for stage in plan.experiment.stages)
    values = {"title": plan.experiment.name, "notice": notice(), "jobs": jobs}
    return (Artifact(PATH, templates.render("submit/submit.py.j2", values)),)


def _job(plan: ir.Plan, stage: ir.Stage) -> Mapping[str, Any]:
    cluster, slurm = plan.cluster, plan.cluster.slurm
    # Evaluation and export work on one device; training takes the cluster.
    layout = plan.stage(stage.name).layout
    trains = isinstance(stage.work, ir.Training)
    devices = cluster.devices_per_node if trains else 1
    return {
        "stage": stage.name,
        "kind": stage.kind,
        "program": program(plan.experiment, stage),
        "after": stage.after,
        "engine": None if layout is None else layout.engine,
        "nodes": cluster.nodes if trains else 1,
        "tasks_per_node": devices,
        "gpus_per_node": 0 if cluster.device.name == "cpu" else devices,
        "cpus_per_task": slurm["cpus_per_task"],
        "mem": slurm["mem_gib"],
        "time_limit": slurm["time_limit_minutes"],
        "partition": slurm["partition"],
        "account": slurm["account"],
        "qos": slurm["qos"],
        "constraint": slurm["constraint"],
        "reservation": slurm["reservation"],
        "exclude": slurm["exclude"],
        "requeue": slurm["requeue"],
        "signal_delay": slurm["signal_delay_seconds"],
    }
