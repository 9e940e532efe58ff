"""Tasks of suites against what lm-eval knows."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.spec import harness
from specc.spec.consistency import BITS_PER_BYTE
from specc.spec.spec import Spec


def check_tasks(spec: Spec) -> Iterator[Finding]:
    """Tasks that the harness does not have."""
    for name, suite in spec.suites.items():
        for index, task in enumerate(suite.tasks):
            if task.task == BITS_PER_BYTE or harness.knows(task.task):
                continue
            near = harness.near(task.task)
            yield Finding(
                "SPC601",
                f"{harness.harness()} has no task `{task.task}`",
                (At(("suites", name, "tasks", index, "task")),),
                help=f"did you mean `{near}`?" if near else "`lm-eval ls tasks` prints all of them",
            )
