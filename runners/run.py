"""One execution of one stage: its arguments, its directory, its beginning and its end."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from runners import facts
from runners.data import DataSet, address, check_unchanged, prepare
from runners.errors import RunError
from runners.events import Events, Silence, data_read, open_events
from runners.numerics import check_resumed
from runners.places import spec_folder
from runners.plan import read_manifest
from runners.ranks import ALONE, Ranks, end
from specc.manifest import Manifest, StageEntry

_GONE = ("Connection closed by peer", "Connection reset by peer")


@dataclass(frozen=True)
class Run:
    """Where a stage reads and writes."""

    stage: str
    directory: Path
    plan: Path
    """The folder of generated code."""
    manifest: Manifest
    upstream: Mapping[str, Path]
    """Run directory of each stage that this one reads."""

    @property
    def experiment(self) -> Path:
        """The folder that the runs of one experiment share."""
        return self.directory.parent

    @property
    def entry(self) -> StageEntry:
        """What the manifest says of this stage."""
        return self.manifest.stages[self.stage]

    @property
    def name(self) -> str:
        """Such as `quickstart/pretrain-3f2a9c1b77d0`."""
        return name_of(self.directory)


class Stopped(Exception):
    """The run was asked to stop by a signal, and saved what it had."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def name_of(directory: Path) -> str:
    """Name of a run: its experiment's folder and its own."""
    return f"{directory.parent.name}/{directory.name}"


def console(*, quiet: bool = False) -> Console:
    """Where a program speaks to the user; text is never taken for markup. Of several processes, only the first does."""
    return Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True, quiet=quiet)


def execute(stage: str, model: type[torch.nn.Module], body: Callable[[Run], None]) -> None:
    """Run a program: read its arguments, do the work, and turn what went wrong into a message and an exit code."""
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    rank = os.environ.get("RANK", "0")
    speaker = "" if rank == "0" else f"rank {rank}: "
    try:
        body(open_run(stage, Path(inspect.getfile(model)).parent, sys.argv[1:]))
    except RunError as error:
        errors.print(f"{speaker}error: {error}")
        end(1)
    except OSError as error:  # before the run's own record is open
        errors.print(f"{speaker}error: {error.filename}: {error.strerror or error}")
        raise SystemExit(1) from None
    except Stopped as stop:
        if not speaker:  # all of them stop for the same reason
            errors.print(str(stop))
        raise SystemExit(128 + stop.signal_number) from None  # what a shell reports for that signal
    except KeyboardInterrupt:
        errors.print("interrupted; run the same command to continue")
        raise SystemExit(130) from None


def open_run(stage: str, plan: Path, arguments: list[str]) -> Run:
    """Read `--run DIR` and `--from stage=RUN`, and the manifest beside the generated code."""
    parser = argparse.ArgumentParser(description=f"Execute stage `{stage}`.")
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="run directory; resumed if it exists")
    parser.add_argument("--from", dest="upstream", action="append", default=[], metavar="STAGE=DIR")
    options = parser.parse_args(arguments)
    upstream = dict(_upstream(pair) for pair in options.upstream)
    manifest = read_manifest(plan)
    if stage not in manifest.stages:
        raise RunError(f"the manifest in {plan} knows no stage `{stage}`; compile the spec again")
    return Run(stage, options.run.resolve(), plan.resolve(), manifest, upstream)


@contextmanager
def recorded(run: Run, resumed_from_step: int | None, place: torch.device, ranks: Ranks = ALONE) -> Iterator[Events]:
    """Write `run_started`, and `run_finished` with state failed when the work ends in an error.

    The body itself writes `run_finished` when it is done. A stop by signal writes none: such a run is continued.
    RunError, with nothing written, when the run began in another precision.
    """
    started = time.monotonic()
    changed = check_resumed(run.name, run.directory, run.manifest, run.stage)
    if changed is not None and ranks.is_first:
        console().print(changed)
    with open_events(run.directory) if ranks.is_first else nullcontext(Silence()) as events:
        events.write("run_started", **_beginning(run, resumed_from_step, place))
        for name, value in run.entry.predictions.items():
            if value is not None:
                events.write("prediction", name=name, value=value)
        events.sync()
        failure = None
        try:
            yield events
        except OSError as error:
            failure = f"{error.filename or run.directory}: {error.strerror or error}"
            raise RunError(failure) from error
        except Stopped:
            raise
        except RunError as error:
            failure = str(error)
            raise
        except Exception as error:  # recorded and passed on: a bug keeps its traceback
            failure = f"{type(error).__name__}: {error}"
            if _is_out_of_memory(error):
                failure = _too_large(run, place, str(error).splitlines()[0])
                raise RunError(failure) from None
            if is_lost_peer(error):
                failure = "another process of this run ended; run the same command to continue from the last checkpoint"
                raise RunError(failure) from None
            raise
        finally:
            if failure is not None:
                seconds = time.monotonic() - started
                _fail(events, failure, seconds)


def open_data(run: Run, events: Events, name: str, ranks: Ranks = ALONE) -> DataSet:
    """A data set of the plan, reported; RunError when the run began with other texts than its files now hold.

    The first process makes it where it is not there yet, and the others find it.
    """
    if ranks.is_first:
        check_unchanged(run.name, data_read(run.directory), {name: address(run.experiment, run.manifest, name)})
        prepare(run.experiment, run.manifest, name)
    ranks.wait()
    data = prepare(run.experiment, run.manifest, name)
    parts = data.train.ranges.values()
    documents, tokens = sum(part.documents for part in parts), sum(part.tokens for part in parts)
    events.write("data", name=name, address=data.folder.name, documents=documents, tokens=tokens)
    return data


def is_lost_peer(error: Exception) -> bool:
    """Whether a sum over processes failed because one of them is gone; gloo says so in words."""
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _GONE)


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch has a type of its own for CUDA alone; its CPU allocator says so in words."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def _too_large(run: Run, place: torch.device, reason: str) -> str:
    """How far off the plan was, as far as it can be told, and what to change."""
    planned, has = run.entry.predictions.get("memory_bytes"), facts.memory_of(place)
    said = "" if planned is None else f"the plan said {planned / 2**30:.2f} GiB, and "
    peak = f"{said}{facts.device_name(place)} has {has / 2**30:.2f} GiB"
    return f"the device is out of memory ({reason}): {peak}; lower `micro_batch_size`, or recompute activations"


def _fail(events: Events, failure: str, seconds: float) -> None:
    """Record the failure, unless the disk is what failed."""
    with suppress(OSError):
        events.write("run_finished", state="failed", step=None, error=failure, seconds=seconds)
        events.sync()


def _beginning(run: Run, resumed_from_step: int | None, place: torch.device) -> dict[str, object]:
    manifest = run.manifest
    return {
        "run": run.name,
        "experiment": manifest.experiment,
        "identity": manifest.identity,
        "stage": run.stage,
        "kind": run.entry.kind,
        "key": run.entry.key,
        "plan": os.path.relpath(run.plan, run.directory),
        "folder": str(spec_folder()),
        "seed": manifest.seed,
        "host": facts.host(),
        "pid": os.getpid(),
        "device": facts.device_name(place),
        "git_commit": facts.git_commit(run.plan),
        "versions": {"specc": manifest.specc} | facts.versions(),
        "resumed_from_step": resumed_from_step,
        "upstream": {stage: name_of(path) for stage, path in run.upstream.items()},
    }


def _upstream(pair: str) -> tuple[str, Path]:
    stage, equals, path = pair.partition("=")
    if not (stage and equals and path):
        raise RunError(f"`--from {pair}` is not of the form stage=DIR")
    if not Path(path).is_dir():
        raise RunError(f"`--from {pair}`: there is no run directory {path}")
    return stage, Path(path).resolve()
