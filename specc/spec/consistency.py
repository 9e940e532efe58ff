"""Parts of one section that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.spec.spec import Spec

BITS_PER_BYTE = "bits_per_byte"


def check_data(spec: Spec) -> Iterator[Finding]:
    """Weights of some sources only, tasks with or without data that need the opposite, and names said twice."""
    for name, data in spec.data.items():
        weighted = [key for key, source in data.sources.items() if source.weight is not None]
        missing = [key for key in data.sources if key not in weighted]
        if weighted and missing:
            at = ("data", name, "sources")
            places = (At((*at, missing[0]), of_key=True), At((*at, weighted[0], "weight")))
            headline = f"source `{missing[0]}` has no weight, and `{weighted[0]}` has one"
            yield Finding("SPC202", headline, places, help="weigh all sources, or none to pool them")
    yield from _tasks(spec)
    yield from _repeated(spec)


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


def _repeated(spec: Spec) -> Iterator[Finding]:
    lists = [(name, field) for name in spec.stages for field in ("models", "suites")]
    for name, field in lists:
        values = getattr(spec.stages[name], field, ())
        for index in (index for index, value in enumerate(values) if value in values[:index]):
            at = ("stages", name, field)
            places = (At((*at, index), "again here"), At((*at, values.index(values[index])), "first here"))
            yield Finding("SPC605", f"`{values[index]}` is named twice in `{field}`", places)
