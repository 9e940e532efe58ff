"""Executes the stages of a plan on this machine, each in as many processes as its layout has.

python -m runners.local PLAN_DIR --stages pretrain,evaluate
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from runners.errors import RunError
from runners.plan import read_manifest
from runners.processes import run_here
from runners.stages import check_upstream, command_for, fresh_folder, in_order, run_folder, said_complete
from specc.manifest import Manifest


def main() -> None:
    """Run the stages in order; what is complete is kept, and the first failure ends it with its exit code."""
    parser = argparse.ArgumentParser(description="Execute stages of a compiled plan here.")
    parser.add_argument("plan", type=Path, help="folder of generated code, at EXPERIMENT/plans/ID")
    parser.add_argument("--stages", required=True, metavar="A,B")
    parser.add_argument("--fresh", action="store_true", help="start again even where a run exists")
    options = parser.parse_args()
    try:
        code = _run(options.plan.resolve(), options.stages.split(","), fresh=options.fresh)
    except RunError as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"error: {error}")
        code = 1
    raise SystemExit(code)


def _run(plan: Path, stages: list[str], *, fresh: bool) -> int:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    experiment, manifest = plan.parent.parent, read_manifest(plan)
    ordered = in_order(manifest, stages)
    check_upstream(experiment, manifest, ordered)
    for stage in ordered:
        folder = (fresh_folder if fresh else run_folder)(experiment, manifest, stage)
        complete = said_complete(experiment, manifest, stage, folder)
        if complete is not None:
            out.print(f"{experiment.name}/{folder.name} is {complete}; --fresh runs it again")
            continue
        _refuse_other_machines(manifest, stage)
        arguments = command_for(plan, experiment, manifest, stage, folder).arguments
        code = run_here(arguments, manifest.stages[stage].processes)
        if code:
            return code
    return 0


def _refuse_other_machines(manifest: Manifest, stage: str) -> None:
    machines = manifest.stages[stage].machines
    if machines > 1:
        raise RunError(
            f"stage `{stage}` is laid out for {machines} machines, and this is one: "
            "queue it with submit.py, or give it a cluster of one node"
        )


if __name__ == "__main__":
    main()
