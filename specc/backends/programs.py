"""Which generated program executes a stage."""

from __future__ import annotations

from collections.abc import Callable

from specc import ir
from specc.backends import huggingface, imported, lm_eval, train

PROGRAMS: dict[str, Callable[[ir.Experiment, ir.Stage], str]] = {
    imported.KIND: imported.program,
    train.KIND: train.program,
    lm_eval.KIND: lm_eval.program,
    huggingface.KIND: huggingface.program,
}
"""By kind of stage."""


def program(experiment: ir.Experiment, stage: ir.Stage) -> str | None:
    """The program's path, or None where this version has no lowering for the kind."""
    return PROGRAMS[stage.kind](experiment, stage) if stage.lowered else None
