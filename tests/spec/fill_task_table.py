"""`python -m tests.spec.fill_task_table`: write the table of lm-eval's tasks that `specc check` reads.

First the version. Then a line a task, group or tag, sorted: its name, and the numbers of what it scores, as in `3 7-9`.
After an empty line what is scored, a line each, from number 0: data set, config, split, and the split to train on, with
`-` where the task's YAML says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from specc.spec import harness

FOLDER = Path(harness.__file__).parent
Key = tuple[str, str, str, str]


def table() -> str:
    """The table of the installed lm-eval; takes some ten seconds."""
    from lm_eval.tasks import TaskManager

    index = TaskManager().task_index
    keys = {name: key(entry.cfg or {}) for name, entry in index.items() if entry.kind.name in ("TASK", "PY_TASK")}
    below = {name: tuple(entry.tags) for name, entry in index.items() if entry.kind.name == "TAG"}
    below |= {name: tuple(members(entry.cfg["task"])) for name, entry in index.items() if entry.kind.name == "GROUP"}
    data = sorted(set(keys.values()))
    number = {what: at for at, what in enumerate(data)}
    lines = [f"{name}\t{ranges({number[keys[task]] for task in leaves(name, below, keys)})}" for name in sorted(index)]
    return "\n".join((f"lm-eval {version('lm_eval')}", *lines, "", *("\t".join(what) for what in data), ""))


def leaves(name: str, below: Mapping[str, tuple[str, ...]], keys: Mapping[str, Key]) -> set[str]:
    """Tasks that a name stands for: itself, or what its group holds, however deep."""
    found, waiting, seen = set(), [name], set()
    while waiting:
        one = waiting.pop()
        if one in keys:
            found.add(one)
        elif one not in seen:
            waiting += below.get(one, ())
        seen.add(one)
    return found


def ranges(numbers: set[int]) -> str:
    """Numbers as text, those that follow each other as a range."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def key(config: dict[str, Any]) -> Key:
    """What is scored, as lm-eval chooses it: the test split, and the validation split where there is none."""
    scored = config.get("test_split") or config.get("validation_split")
    said = (config.get("dataset_path"), config.get("dataset_name"), scored, config.get("training_split"))
    first, second, third, fourth = (value if isinstance(value, str) and value else "-" for value in said)
    return first, second, third, fourth


def members(listed: list[Any]) -> Iterator[str]:
    """Names in a group, those of groups written out in it included."""
    for item in listed:
        if isinstance(item, str):
            yield item
        elif isinstance(item.get("task"), list):
            yield from members(item["task"])
        elif "task" in item:
            yield str(item["task"])


if __name__ == "__main__":
    (FOLDER / harness.FILE).write_text(table(), encoding="utf-8")
