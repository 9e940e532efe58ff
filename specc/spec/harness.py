"""The tasks that lm-eval knows (Biderman et al. 2024, arXiv:2405.14782), from a table: importing it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from specc.diagnostics.near import nearest

FILE = "harness_tasks.tsv"
"""Written by `tests/spec/fill_task_table.py`, which describes it."""


@dataclass(frozen=True)
class Scored:
    """What a task scores; None where the task's YAML does not say."""

    dataset: str | None
    config: str | None
    split: str | None
    training_split: str | None


def harness() -> str:
    """The version that the table is of: `lm-eval 0.4.13`."""
    return _table()[0].partition(b"\n")[0].decode()


def knows(name: str) -> bool:
    """Whether lm-eval has a task, a group or a tag of that name."""
    return _numbers(name) is not None


def near(name: str) -> str | None:
    """The task that a misspelt name was probably meant to be."""
    names = [line.partition("\t")[0] for line in _table()[0].decode().splitlines()[1:]]
    return nearest(name, sorted(names, key=len))


def scored(name: str) -> Iterator[Scored]:
    """What a task scores, and every task of a group."""
    data = _table()[1].decode().splitlines()
    for run in (_numbers(name) or "").split():
        first, _, last = run.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield Scored(*(None if word == "-" else word for word in data[number].split("\t")))


def _numbers(name: str) -> str | None:
    """The second field of the line of a name."""
    names, start = _table()[0], f"\n{name}\t".encode(errors="replace")
    at = names.find(start) if name.isprintable() else -1
    end = names.find(b"\n", at + 1)
    return None if at < 0 else names[at + len(start) : end if end >= 0 else len(names)].decode()


@cache
def _table() -> tuple[bytes, bytes]:
    """The lines of names, and those of what is scored."""
    names, _, data = Path(__file__).with_name(FILE).read_bytes().partition(b"\n\n")
    return names, data
