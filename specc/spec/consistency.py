"""Suites and lists of names that contradict themselves."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.spec.spec import Spec

BITS_PER_BYTE = "bits_per_byte"


def check_suites(spec: Spec) -> Iterator[Finding]:
    """Tasks with or without data that need the opposite, and names said twice."""
    yield from _tasks(spec)
    yield from _repeated(spec)
    yield from _repeated_tasks(spec)


def _tasks(spec: Spec) -> Iterator[Finding]:
    for name, suite in spec.suites.items():
        for index, task in enumerate(suite.tasks):
            at = ("suites", name, "tasks", index)
            if task.task == BITS_PER_BYTE and task.data is None:
                listed = ", ".join(f"`{key}`" for key in spec.data)
                help_text = f"add `data`, one of {listed}" if listed else None
                yield Finding(
                    "SPC606", f"task `{BITS_PER_BYTE}` names no data set", (At((*at, "task")),), help=help_text
                )
            elif task.task != BITS_PER_BYTE and task.data is not None:
                headline = f"task `{task.task}` brings its own data, and is given `{task.data}`"
                yield Finding("SPC606", headline, (At((*at, "data")), At((*at, "task"))), help="leave `data` out")


def _repeated_tasks(spec: Spec) -> Iterator[Finding]:
    """Results are kept by task: of two entries for one task, one would be lost."""
    for name, suite in spec.suites.items():
        scored = [(task.task, task.data) for task in suite.tasks]
        for index in (index for index, what in enumerate(scored) if what in scored[:index]):
            at = ("suites", name, "tasks")
            places = (
                At((*at, index, "task"), "again here"),
                At((*at, scored.index(scored[index]), "task"), "first here"),
            )
            headline = f"task `{scored[index][0]}` is named twice in suite `{name}`"
            yield Finding("SPC605", headline, places, ("results are kept by the name of the task",))


def _repeated(spec: Spec) -> Iterator[Finding]:
    lists = [(name, field) for name in spec.stages for field in ("models", "suites")]
    for name, field in lists:
        values = getattr(spec.stages[name], field, ())
        for index in (index for index, value in enumerate(values) if value in values[:index]):
            at = ("stages", name, field)
            places = (At((*at, index), "again here"), At((*at, values.index(values[index])), "first here"))
            yield Finding("SPC605", f"`{values[index]}` is named twice in `{field}`", places)
