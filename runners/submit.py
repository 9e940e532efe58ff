"""Sends the stages of a compiled experiment as jobs, through submitit: to Slurm, or as processes of this machine."""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import submitit
from rich.console import Console
from submitit.helpers import DelayedSubmission, TorchDistributedEnvironment
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from runners.errors import RunError
from runners.plan import read_manifest
from runners.stages import Command, check_upstream, command_for, in_order, run_folder, said_complete
from specc.manifest import Manifest

MAX_TIME_LIMITS = 10_000
"""How often a job may reach its time limit and be queued again. submitit gives up after 3, which ends a stage of weeks
in its first days."""


ENGINES = ("torch", "deepspeed")
"""Engines that the programs of this version can run. A job of another one would wait in the queue only to fail."""


@dataclass(frozen=True)
class Job:
    """One stage as a job. What is None is left to the cluster's default."""

    stage: str
    program: str | None
    """Generated script, or None where this version of specc has no lowering for the stage's kind."""
    after: tuple[str, ...] = ()
    engine: str | None = None
    """What runs the steps of a training stage; None for a stage that trains nothing."""
    nodes: int = 1
    tasks_per_node: int = 1
    gpus_per_node: int = 0
    cpus_per_task: int = 1
    mem: float | None = None
    """GiB per node."""
    time_limit: int = 60
    """Minutes."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    exclude: tuple[str, ...] = ()
    """Nodes not to use."""
    requeue: bool = True
    """Whether a job that is stopped is queued again."""
    signal_delay: int = 120
    """Seconds between Slurm's signal and the end of the time limit, for a last step and a checkpoint."""


class Execute:
    """What a job does: run the command, and hand a request to stop on to it. Pickled by submitit, by reference."""

    def __init__(self, command: Command, *, requeue: bool, seconds_to_save: int, processes: int = 1) -> None:
        self.command = command
        self.processes = processes
        self.requeue = requeue
        self.seconds_to_save = seconds_to_save
        self.child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run the stage; RunError with its exit code when it failed, which makes the job fail."""
        if self.processes > 1:  # every task is one of them, and sees all devices of its node
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        self.child = subprocess.Popen(self.command.arguments)
        while self.child.poll() is None:  # not wait(): a signal handler could not poll while it holds the lock
            time.sleep(0.1)
        if self.child.returncode != 0:
            raise RunError(f"stage `{self.command.stage}` ended with exit code {self.child.returncode}")

    def checkpoint(self) -> DelayedSubmission | None:
        """Called by submitit in the handler of USR2: wait until the stage has saved, then be queued again, or not."""
        if self.child is not None:
            self.child.send_signal(signal.SIGUSR2)
            deadline = time.monotonic() + self.seconds_to_save
            while self.child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
        if not self.requeue:
            return None
        again = Execute(
            self.command, requeue=self.requeue, seconds_to_save=self.seconds_to_save, processes=self.processes
        )
        return DelayedSubmission(again)


def submit(jobs: Sequence[Job], folder: Path, arguments: Sequence[str] | None = None) -> None:
    """Run as a program beside the manifest in `folder`: `submit.py [--stages A,B] [--dry-run] [--cluster NAME]`."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        _submit(tuple(jobs), folder.resolve(), _options(sys.argv[1:] if arguments is None else arguments))
    except RunError as error:
        errors.print(f"error: {error}")
        raise SystemExit(1) from None


def sbatch_text(job: Job, command: Command, after: Sequence[str]) -> str:
    """The script that submitit would send for the job. Placeholders stand for job numbers not yet given."""
    parameters = _parameters(job, after)
    words: dict[str, str] = dict(SlurmExecutor._equivalence_dict())  # type: ignore[arg-type]
    renamed = {new: parameters.pop(old) for old, new in words.items() if old in parameters}
    if "mem" in renamed:
        renamed["mem"] = f"{renamed['mem']:g}GB"
    special = {name.removeprefix("slurm_"): value for name, value in parameters.items()}
    line = shlex.join(command.arguments)
    return str(_make_sbatch_string(command=line, folder=_log_folder(command), **renamed, **special))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send the stages of this experiment as jobs.")
    parser.add_argument("--stages", metavar="A,B", help="only these stages (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent, and send nothing")
    parser.add_argument("--cluster", default="slurm", choices=("slurm", "local"))
    parser.add_argument("--experiment", type=Path, help="folder of the runs (default: runs/NAME)")
    return parser.parse_args(arguments)


def _submit(jobs: tuple[Job, ...], folder: Path, options: argparse.Namespace) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    manifest = read_manifest(folder)
    experiment = (options.experiment or _home(folder, manifest)).resolve()
    chosen, refusal = _chosen(jobs, manifest, options.stages)
    if refusal is not None and not options.dry_run:
        raise RunError(refusal)
    folders = {job.stage: run_folder(experiment, manifest, job.stage) for job in chosen}
    commands = {stage: command_for(folder, experiment, manifest, stage, run) for stage, run in folders.items()}
    for job in chosen:
        _refuse_control_characters(job, commands[job.stage])
    complete = {stage: said_complete(experiment, manifest, stage, run) for stage, run in folders.items()}
    waiting = [job for job in chosen if complete[job.stage] is None]
    for stage, said in complete.items():
        if said is not None:
            out.print(f"{stage}: {said}; specc run --fresh runs it again ({folders[stage]})")
    if options.dry_run:
        _show(waiting, commands, out)
        if refusal is not None:
            raise RunError(refusal)
    check_upstream(experiment, manifest, [job.stage for job in waiting])
    if not options.dry_run:
        _send(waiting, commands, options.cluster, out)


def _refuse_control_characters(job: Job, command: Command) -> None:
    """RunError for a string that would end its line of the sbatch script, and begin another."""
    named = ("stage", "partition", "account", "qos", "constraint", "reservation")
    strings = [(f"`{name}` of stage {job.stage!r}", getattr(job, name) or "") for name in named]
    strings += [(f"`exclude` of stage {job.stage!r}", node) for node in job.exclude]
    strings += [(f"the command of stage {job.stage!r}", word) for word in (str(command.run), *command.arguments)]
    for what, text in strings:
        if any(unicodedata.category(character) == "Cc" for character in text):
            raise RunError(f"{what} holds a control character, and cannot stand in an sbatch script: {text!r}")


def _home(plan: Path, manifest: Manifest) -> Path:
    """Where runs of a plan lie: around the plan where `specc run` put it, else below the working folder."""
    return plan.parent.parent if plan.parent.name == "plans" else Path("runs", manifest.experiment)


def _show(jobs: Sequence[Job], commands: Mapping[str, Command], out: Console) -> None:
    """Print the script of each job."""
    for job in jobs:
        after = [f"<job of {stage}>" for stage in job.after if any(other.stage == stage for other in jobs)]
        out.print(f"# {job.stage}\n{sbatch_text(job, commands[job.stage], after)}")


def _chosen(jobs: tuple[Job, ...], manifest: Manifest, stages: str | None) -> tuple[tuple[Job, ...], str | None]:
    """The requested jobs that can be run, each after what it needs; and what to say if one of them cannot."""
    by_stage = {job.stage: job for job in jobs}
    names = in_order(manifest, list(by_stage) if stages is None else stages.split(","))
    chosen = tuple(by_stage[name] for name in names)
    missing = [job.stage for job in chosen if job.program is None]
    runnable: tuple[Job, ...] = ()
    lost: set[str] = set()
    for job in chosen:
        if job.program is None or lost & set(job.after):
            lost.add(job.stage)
        else:
            runnable += (job,)
    foreign = next((job for job in chosen if job.engine is not None and job.engine not in ENGINES), None)
    if foreign is not None:
        names = " or ".join(f"`{engine}`" for engine in ENGINES)
        return (
            runnable,
            f"this version of specc runs engine {names}, and stage `{foreign.stage}` needs `{foreign.engine}`",
        )
    if not missing:
        return runnable, None
    hint = f"; send the others with --stages {','.join(job.stage for job in runnable)}" if runnable else ""
    return runnable, f"this version of specc generates no program for stage `{missing[0]}`{hint}"


def _send(jobs: Sequence[Job], commands: Mapping[str, Command], cluster: str, out: Console) -> None:
    """Queue the jobs. Slurm knows dependencies; elsewhere a job is sent when those it waits for are done."""
    sent: dict[str, submitit.Job[Any]] = {}
    for job in jobs:
        before = {stage: sent[stage] for stage in job.after if stage in sent}
        if cluster != "slurm":
            _wait(before)
        command = commands[job.stage]
        limits = MAX_TIME_LIMITS if job.requeue else 0
        executor = submitit.AutoExecutor(folder=_log_folder(command), cluster=cluster, slurm_max_num_timeout=limits)
        executor.update_parameters(**_parameters(job, [other.job_id for other in before.values()]))
        sent[job.stage] = executor.submit(_execute(job, command))
        out.print(f"{job.stage}: job {sent[job.stage].job_id}, {command.run}")
    if cluster != "slurm":
        _wait(sent)


def _wait(sent: Mapping[str, submitit.Job[Any]]) -> None:
    """Return when all these jobs are done; RunError when one failed."""
    for stage, job in sent.items():
        try:
            job.result()
        except (submitit.core.utils.FailedJobError, submitit.core.utils.UncompletedJobError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise RunError(f"stage `{stage}` failed: {reason}; its log is {job.paths.stderr}") from None


def _parameters(job: Job, after: Sequence[str]) -> dict[str, Any]:
    """The job in submitit's words; those with `slurm_` are for Slurm alone."""
    fields = asdict(job)
    slurm: dict[str, Any] = {
        f"slurm_{name}": fields[name] for name in ("partition", "account", "qos", "constraint") if fields[name]
    }
    more: dict[str, Any] = {"requeue" if job.requeue else "no-requeue": True}
    if job.reservation:
        more["reservation"] = job.reservation
    if job.exclude:
        slurm["slurm_exclude"] = ",".join(job.exclude)
    if after:
        slurm["slurm_dependency"] = f"afterok:{':'.join(after)}"
        more["kill-on-invalid-dep"] = "yes"
    slurm["slurm_additional_parameters"] = more
    return {
        "name": job.stage,
        "nodes": job.nodes,
        "tasks_per_node": job.tasks_per_node,
        "gpus_per_node": job.gpus_per_node,
        "cpus_per_task": job.cpus_per_task,
        "timeout_min": job.time_limit,
        "slurm_signal_delay_s": job.signal_delay,
        **({"mem_gb": job.mem} if job.mem else {}),
        **slurm,
    }


def _execute(job: Job, command: Command) -> Execute:
    processes = job.nodes * job.tasks_per_node
    return Execute(command, requeue=job.requeue, seconds_to_save=job.signal_delay, processes=processes)


def _log_folder(command: Command) -> Path:
    return command.run / "jobs"
