"""Evaluation suites."""

from __future__ import annotations

from specc import ir
from specc.spec.base import Node, identity, section


class TaskSpec(Node):
    """One task: a name that lm-eval knows, or `bits_per_byte` on the held-out documents of a data set."""

    task: str = identity("Name in lm-eval, or `bits_per_byte`.", min_length=1)
    data: str | None = identity("Data set whose held-out split is scored; only for `bits_per_byte`.", None)
    num_fewshot: int | None = identity("Examples in the prompt; `null` is the task's own number.", None, ge=0)

    def lower(self) -> ir.Task:
        """The task as a plain record."""
        return ir.Task(self.task, self.data, self.num_fewshot)


class SuiteSpec(Node):
    """Tasks under one name."""

    tasks: tuple[TaskSpec, ...] = section("The tasks, in order.", min_length=1)
    apply_chat_template: bool = identity(
        "Whether prompts are written as turns of a chat, as a tuned model read them.", False
    )

    def lower(self, name: str) -> ir.Suite:
        """The suite as a plain record."""
        return ir.Suite(name, tuple(task.lower() for task in self.tasks), self.apply_chat_template)
