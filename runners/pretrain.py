"""Runs a pretraining stage as a program: the part that is the same in every experiment."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from rich.console import Console
from torch import nn

from runners import checkpoint, facts
from runners.batches import validation_windows
from runners.data import DataSet
from runners.engines import build, device, refuse_unsupported, xla_host
from runners.engines.engine import Engine, Optimizer
from runners.errors import RunError
from runners.evaluate import quiet_harness
from runners.events import Events, has_finished
from runners.init import Rules
from runners.loop import Training
from runners.objective import Causal, validation_examples
from runners.progress import TrainingProgress
from runners.ranks import Ranks, join, leave
from runners.reading import ordered, upcoming
from runners.recipe import Pretraining, Recipe
from runners.run import Run, Stopped, console, execute, open_data, recorded
from runners.scoring import open_scorer
from runners.stopping import stop_requests
from runners.tokenizer import tokenizer
from runners.watching import Watch

__all__ = ["Pretraining", "pretrain"]


def pretrain(
    model: type[nn.Module],
    cache: type[Any] | None,
    pretraining: Pretraining,
    initialisation: Rules,
    optimizer: Callable[[nn.Module], Optimizer],
    learning_rate: Callable[[int], float],
) -> None:
    """Run the stage as a program: `--run DIR`, resumed from the last checkpoint in DIR if there is one.

    Exit codes: 0 finished, 1 an error, 128 + signal when it was asked to stop and saved.
    """
    recipe = Recipe(model, cache, pretraining, initialisation, optimizer, learning_rate)
    execute(pretraining.stage, model, lambda run: _pretrain(run, recipe))


def _pretrain(run: Run, recipe: Recipe) -> None:
    settings = recipe.settings
    if settings.engine == "xla":
        xla_host.enter()
    # XLA has one process a machine, which sees all of its devices.
    ranks = join(None if settings.engine == "xla" else settings.layout)
    out = console(quiet=not ranks.is_first)
    if ranks.share(has_finished(run.directory)):
        out.print(f"{run.name} is already complete: {settings.steps:,} steps")
    else:
        try:
            _train(run, recipe, ranks, out)
        except Stopped:  # all processes agreed to
            leave(ranks)
            raise
    leave(ranks)


def _train(run: Run, recipe: Recipe, ranks: Ranks, out: Console) -> None:
    found, damaged = checkpoint.latest(run.directory, ranks)
    place = device(recipe.settings)
    scoring = recipe.settings.scoring
    with (
        recorded(run, found.step if found else None, place, ranks) as events,
        nullcontext(None) if scoring is None else quiet_harness(run) as quietly,
    ):
        started = time.monotonic()
        refuse_unsupported(recipe.settings, ranks)
        if ranks.is_first:
            _tidy(run, damaged, out)
        data = open_data(run, events, recipe.settings.data, ranks)
        before = facts.resident_memory()
        engine = build(recipe, ranks, place, None if found is not None else _base(run, recipe.settings.base, ranks))
        out.print(_headline(run, recipe.settings, engine))
        _say_what_it_cannot_write(recipe.settings, engine, out)
        if found is not None:
            engine.restore(found)
            out.print(f"resuming from step {found.step:,} of {recipe.settings.steps:,}")
        training = _training(run, recipe, engine, data, events, found)
        if scoring is not None and quietly is not None:
            length = recipe.settings.context_length
            training.scorer = open_scorer(run, events, ranks, scoring, length, recipe.cache, quietly)
        with (
            training.upcoming,
            TrainingProgress(out, recipe.settings.steps) as progress,
            stop_requests() as requests,
            training.saver,
        ):
            training.run_loop(progress, requests)
        training.measure(engine.parameters, before)
        events.write(
            "run_finished", state="finished", step=training.step, error=None, seconds=time.monotonic() - started
        )
        events.sync()
        out.print(training.summary())


def _say_what_it_cannot_write(settings: Pretraining, engine: Engine, out: Console) -> None:
    """RunError where suites were asked for and the layout cannot score them; a line where samples are left out."""
    if engine.writes:
        return
    if settings.scoring is not None:
        raise RunError(
            f"suites cannot be scored on the way where the model is divided like this (engine `{settings.engine}`); "
            "leave `evaluation` out of the stage, and score its checkpoints in an `evaluate` stage"
        )
    if settings.sample_prompt is not None and settings.objective.writes_after is not None:
        out.print("no samples are written: this layout has no whole model to write with")


def _tidy(run: Run, damaged: tuple[checkpoint.Damaged, ...], out: Console) -> None:
    for path in damaged:
        checkpoint.set_aside(path)
        out.print(f"{path.name} is damaged ({path.reason}); it is set aside, and the one before it is used")
    checkpoint.remove_unfinished(run.directory)


def _base(run: Run, stage: str | None, ranks: Ranks) -> checkpoint.Checkpoint | None:
    """The checkpoint that the stage starts from, where it is another stage's."""
    if stage is None:
        return None
    if stage not in run.upstream:
        raise RunError(f"the run of stage `{stage}` is not given; add `--from {stage}=RUN_DIR`")
    return checkpoint.required(run.upstream[stage], ranks)


def _headline(run: Run, settings: Pretraining, engine: Engine) -> str:
    tokens = settings.batches.first(settings.steps) * settings.context_length
    batch = f"{settings.global_batch_size} x {settings.context_length}"
    where = facts.device_name(engine.device) + (f" x {engine.ranks.size}" if engine.ranks.size > 1 else "")
    return (
        f"{run.name}: {engine.parameters:,} parameters, {settings.steps:,} steps of {batch} tokens "
        f"({tokens:,} in all), {settings.precision} on {where}"
    )


def _training(
    run: Run,
    recipe: Recipe,
    engine: Engine,
    data: DataSet,
    events: Events,
    found: checkpoint.Checkpoint | None,
) -> Training:
    settings = recipe.settings
    window = settings.objective.window(settings.context_length)
    text = tokenizer(run.manifest.tokenizer)
    batches = ordered(settings, data, text, engine.ranks)
    count = settings.validation_batches * settings.global_batch_size
    held_out = validation_examples(settings.objective, validation_windows(data, window, count), settings.seed)
    own = held_out.part(engine.ranks.data_rank, engine.ranks.data_size)
    reads = upcoming(settings, batches, engine.ranks, engine.device)
    watch = Watch(settings.on_spike)
    training = Training(run, recipe, engine, batches, reads, own, text, events, watch)
    if isinstance(settings.objective, Causal):
        training.tokens_per_byte = data.validation.tokens_per_byte
    if found is not None:
        watch.restore(found.scalars.get("watch", {}))
        training.step, training.before, training.saved = found.step, found.seconds, found.step
    return training
