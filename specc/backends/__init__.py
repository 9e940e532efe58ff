"""Plan to artifacts. Pure: text out, nothing written, nothing looked up."""

from collections.abc import Callable

from specc.backends import card, deepspeed, huggingface, imported, lm_eval, lock, model, modeling, submitit, train
from specc.backends.artifact import Artifact
from specc.ir import Plan

Backend = Callable[[Plan], tuple[Artifact, ...]]

BACKENDS: tuple[Backend, ...] = (
    model.emit,
    modeling.emit,
    imported.emit,
    train.emit,
    deepspeed.emit,
    lm_eval.emit,
    huggingface.emit,
    submitit.emit,
    lock.emit,
    card.emit,
)

__all__ = ["BACKENDS", "Artifact", "Backend"]
