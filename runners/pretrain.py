"""The training loop of a pretraining stage: the part that is the same in every experiment."""

from __future__ import annotations

import math
import os
import signal
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch import nn

from runners import checkpoint, facts
from runners.batches import Batches, training_batches, validation_windows
from runners.data import DataSet
from runners.dropout import seed_dropout
from runners.errors import RunError
from runners.events import EventWriter, has_finished
from runners.init import Rules, initialise
from runners.objective import Causal, Examples, Objective, training_examples, validation_examples
from runners.progress import TrainingProgress, clock
from runners.run import Run, Stopped, console, execute, open_data, recorded
from runners.sampling import generate
from runners.stopping import stop_requests
from runners.tokenizer import Tokenizer, tokenizer
from runners.torch_engine import (
    ACTIVATION_CHECKPOINTING,
    PRECISIONS,
    Optimizer,
    TorchEngine,
    be_deterministic,
    blocks,
    loss_scaler,
    recompute_activations,
)

SAMPLE_TEMPERATURE = 0.8
CAUSAL = Causal()


@dataclass(frozen=True)
class Pretraining:
    """Every decision of a pretraining stage that is a number or a word."""

    stage: str
    engine: str
    engine_config: str | None
    """Configuration file of the engine, beside the program, where it has one."""
    seed: int
    data: str
    context_length: int
    """Tokens per sequence. A sequence can cross documents, and attention is not masked between them."""
    steps: int
    global_batch_size: int
    """Sequences per optimizer step."""
    micro_batch_size: int
    """Sequences per forward pass and device."""
    gradient_accumulation_steps: int
    activation_checkpointing: str
    precision: str
    max_grad_norm: float | None
    log_every: int
    validate_every: int
    validation_batches: int
    """Batches of held-out windows, each of the global batch size; fewer where not as many are held out."""
    checkpoint_every: int
    keep_checkpoints: int
    sample_prompt: str | None
    sample_tokens: int
    """Tokens after the prompt at most: both together stay within the context length."""
    loss_scale: float | str | None = None
    """For fp16: a number, or `dynamic`."""
    base: str | None = None
    """The stage whose last checkpoint it starts from; None draws the weights."""
    auxiliary_loss: float | None = None
    """What the model's `auxiliary_loss()` is multiplied by and added to the loss; None where it has none."""
    after_step: bool = False
    """Whether the model's `after_step()` follows each step of the optimizer."""
    dropout: bool = False
    """Whether the model has dropout, whose masks are then drawn anew by (seed, step)."""
    objective: Objective = CAUSAL
    """What is predicted."""


@dataclass(frozen=True)
class Recipe:
    """What a generated program hands over."""

    model: type[nn.Module]
    cache: type[Any] | None
    """What it keeps while it writes; None where it does not."""
    settings: Pretraining
    initialisation: Rules
    optimizer: Callable[[nn.Module], Optimizer]
    learning_rate: Callable[[int], float]


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
    out = console()
    if has_finished(run.directory):
        out.print(f"{run.name} is already complete: {recipe.settings.steps:,} steps")
        return
    found, damaged = checkpoint.latest(run.directory)
    place = facts.device()
    with recorded(run, found.step if found else None, place) as events:
        started = time.monotonic()
        _refuse_unsupported(recipe.settings)
        for path in damaged:
            checkpoint.set_aside(path)
            out.print(f"{path.name} is damaged; it is set aside, and the one before it is used")
        checkpoint.remove_unfinished(run.directory)
        data = open_data(run, events, recipe.settings.data)
        before = facts.resident_memory()
        engine = _build(recipe, place, None if found is not None else _base(run, recipe.settings.base))
        count = sum(weight.numel() for weight in engine.model.parameters())
        out.print(_headline(run, recipe.settings, count, place))
        if found is not None:
            _restore(engine, found)
            out.print(f"resuming from step {found.step:,} of {recipe.settings.steps:,}")
        training = _training(run, recipe, engine, data, events, found)
        with TrainingProgress(out, recipe.settings.steps) as progress, stop_requests() as requests:
            training.run_loop(progress, requests)
        training.measure(count, before)
        events.write(
            "run_finished", state="finished", step=training.step, error=None, seconds=time.monotonic() - started
        )
        events.sync()
        out.print(training.summary())


def _refuse_unsupported(settings: Pretraining) -> None:
    """RunError for what this version does not run, before anything is read or written."""
    if settings.engine != "torch" or settings.engine_config is not None:
        raise RunError(f"this version runs the engine `torch` in one process, and the plan says `{settings.engine}`")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError(f"this version runs one process, and was started as {os.environ['WORLD_SIZE']}")
    if settings.precision not in PRECISIONS:
        raise RunError(f"this version runs precision {' or '.join(PRECISIONS)}, and the plan says {settings.precision}")
    if settings.precision == "fp16" and settings.loss_scale is None:
        raise RunError("fp16 needs a loss scale, and the plan has none")
    if settings.activation_checkpointing not in ACTIVATION_CHECKPOINTING:
        raise RunError(f"this version does not run activation_checkpointing `{settings.activation_checkpointing}`")
    product = settings.micro_batch_size * settings.gradient_accumulation_steps
    if product != settings.global_batch_size:
        raise RunError(
            f"micro_batch_size x gradient_accumulation_steps is {product} sequences in one process, "
            f"and global_batch_size is {settings.global_batch_size}"
        )


def _base(run: Run, stage: str | None) -> checkpoint.Checkpoint | None:
    """The checkpoint that the stage starts from, where it is another stage's."""
    if stage is None:
        return None
    if stage not in run.upstream:
        raise RunError(f"the run of stage `{stage}` is not given; add `--from {stage}=RUN_DIR`")
    return checkpoint.required(run.upstream[stage])


def _build(recipe: Recipe, place: torch.device, base: checkpoint.Checkpoint | None) -> TorchEngine:
    """The model with its first weights, on the device; they are drawn where there is no `base`."""
    settings = recipe.settings
    be_deterministic(place)
    torch.manual_seed(settings.seed)
    model = recipe.model()
    if base is None:
        initialise(model, recipe.initialisation, settings.seed)
    else:
        base.load_into(model)
    model.to(place)
    if settings.activation_checkpointing == "full":
        recompute_activations(blocks(model))
    optimizer = recipe.optimizer(model)
    scale = settings.loss_scale
    return TorchEngine(
        model,
        optimizer,
        place,
        settings.precision,
        settings.micro_batch_size,
        settings.max_grad_norm,
        loss_scaler(place, scale),
        None if isinstance(scale, str) else scale,
        settings.auxiliary_loss,
        settings.after_step,
        settings.objective.loss,
    )


def _restore(engine: TorchEngine, found: checkpoint.Checkpoint) -> None:
    try:
        engine.restore(found.weights(), found.state())
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise RunError(f"{found.path} is of another model or optimizer than this plan: {reason}") from None


def _headline(run: Run, settings: Pretraining, count: int, place: torch.device) -> str:
    tokens = settings.steps * settings.global_batch_size * settings.context_length
    batch = f"{settings.global_batch_size} x {settings.context_length}"
    return (
        f"{run.name}: {count:,} parameters, {settings.steps:,} steps of {batch} tokens ({tokens:,} in all), "
        f"{settings.precision} on {facts.device_name(place)}"
    )


def _training(
    run: Run,
    recipe: Recipe,
    engine: TorchEngine,
    data: DataSet,
    events: EventWriter,
    found: checkpoint.Checkpoint | None,
) -> _Training:
    settings = recipe.settings
    window = settings.objective.window(settings.context_length)
    batches = training_batches(data, settings.seed, window, settings.global_batch_size)
    count = settings.validation_batches * settings.global_batch_size
    held_out = validation_examples(settings.objective, validation_windows(data, window, count), settings.seed)
    text = tokenizer(run.manifest.tokenizer)
    training = _Training(run, recipe, engine, batches, held_out, text, events)
    if found is not None:
        training.step, training.before, training.saved = found.step, found.seconds, found.step
    return training


@dataclass
class _Training:
    """The loop's state: all that changes from step to step."""

    run: Run
    recipe: Recipe
    engine: TorchEngine
    batches: Batches
    held_out: Examples
    text: Tokenizer
    events: EventWriter
    step: int = 0
    """Optimizer steps done."""
    before: float = 0.0
    """Seconds that earlier attempts spent in the loop, for the steps that count."""
    started: float = field(default_factory=time.monotonic)
    durations: list[float] = field(default_factory=list)
    """Seconds of each step of this attempt."""
    validation: float | None = None
    saved: int | None = None

    @property
    def tokens_per_step(self) -> int:
        return self.recipe.settings.global_batch_size * self.recipe.settings.context_length

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def run_loop(self, progress: TrainingProgress, stop_requests: list[int]) -> None:
        """Train to the last step, or until a signal asks to stop."""
        settings = self.recipe.settings
        while self.step < settings.steps:
            loss, norm, rate = self._one_step()
            last = self.step == settings.steps
            if self.step % settings.log_every == 0 or last or self.step == 1:
                self._report(progress, loss, norm, rate)
            if self.step % settings.validate_every == 0 or last:
                self._validate(progress)
            if last and settings.sample_prompt is not None and settings.objective.writes_after is not None:
                self._sample(progress, settings.sample_prompt)
            if self.step % settings.checkpoint_every == 0 or last or stop_requests:
                self._save()
            if stop_requests and not last:
                name = signal.Signals(stop_requests[0]).name
                message = f"{name}: stopped after step {self.step:,} and saved; run the same command to continue"
                raise Stopped(stop_requests[0], message)

    def measure(self, parameters: int, memory_before: int) -> None:
        """Report what the plan predicted, as it was."""
        measured: dict[str, float] = {"parameters": parameters, "duration_s": self.seconds}
        measured["memory_bytes"] = facts.peak_memory(self.engine.device, memory_before)
        if self.durations:
            measured["step_time_s"] = median(self.durations)
            measured["tokens_per_second"] = self.tokens_per_step / measured["step_time_s"]
        for name, value in measured.items():
            self.events.write("measurement", name=name, value=value)

    def summary(self) -> str:
        """One line on how it ended."""
        loss = "" if self.validation is None else f", validation loss {self.validation:.4f} nats per token"
        return f"{self.run.name} finished: {self.step:,} steps in {clock(self.seconds)}{loss}"

    def _one_step(self) -> tuple[float, float, float]:
        """Loss, norm of the gradient and learning rate of the next step, which is done after it."""
        began = time.monotonic()
        rate = self.recipe.learning_rate(self.step)
        if self.recipe.settings.dropout:
            seed_dropout(self.recipe.settings.seed, self.step)
        loss, norm = self.engine.gradients(self._examples())
        if not (math.isfinite(loss) and (math.isfinite(norm) or self.engine.may_skip)):
            last = "there is no checkpoint yet" if self.saved is None else f"the last checkpoint is step {self.saved:,}"
            raise RunError(
                f"the loss is {loss} and the norm of the gradient {norm} in step {self.step + 1:,}; {last}; "
                f"a lower learning rate (now {rate:.3g}) or a longer warm-up is the usual cure"
            )
        self.engine.update(rate)
        self.step += 1
        self.durations.append(time.monotonic() - began)
        return loss, norm, rate

    def _examples(self) -> Examples:
        """The batch of the next step."""
        settings = self.recipe.settings
        first = self.step * settings.global_batch_size
        return training_examples(settings.objective, self.batches.batch(self.step), settings.seed, first)

    def _report(self, progress: TrainingProgress, loss: float, norm: float, rate: float) -> None:
        recent = self.durations[-self.recipe.settings.log_every :]
        speed = self.tokens_per_step * len(recent) / sum(recent)
        self._metric("train/loss", loss)
        if math.isfinite(norm):
            self._metric("train/grad_norm", norm)
        if self.engine.loss_scale is not None:
            self._metric("train/loss_scale", self.engine.loss_scale)
        if (auxiliary := self.engine.auxiliary()) is not None:
            self._metric("train/auxiliary_loss", auxiliary)
        self._metric("train/learning_rate", rate)
        self._metric("train/tokens_per_second", speed)
        left = (self.recipe.settings.steps - self.step) * self.tokens_per_step / speed
        progress.show(self.step, loss, rate, speed, left)

    def _validate(self, progress: TrainingProgress) -> None:
        self.validation = self.engine.validation_loss(self.held_out)
        self._metric("validation/loss", self.validation)
        progress.say(f"step {self.step:,}: validation loss {self.validation:.4f} nats per token")

    def _sample(self, progress: TrainingProgress, prompt: str) -> None:
        text = self._written_after(prompt)
        self.events.write("sample", step=self.step, prompt=prompt, text=text)
        progress.say(f"sample:\n{textwrap.indent(prompt + text, '  ')}")

    def _written_after(self, text: str) -> str:
        """What the model writes after a text. A generator of its own: a sample must not change what is trained."""
        settings, cache = self.recipe.settings, self.recipe.cache
        assert cache is not None, "objectives that write on train decoders"
        ids = [self.text.end_of_document, *self.text.encode(text)]
        count = max(0, min(settings.sample_tokens, settings.context_length - len(ids)))
        prompt = torch.tensor([ids], device=self.engine.device)
        generator = torch.Generator().manual_seed(settings.seed)
        self.engine.model.eval()
        with self.engine.autocast():
            written = generate(
                self.engine.model,
                cache,
                prompt,
                count,
                stop=lambda tokens: int(tokens[0, -1]) in self.text.ends,
                temperature=SAMPLE_TEMPERATURE,
                generator=generator,
                sees_prompt=settings.objective.writes_after == "prefix",
            )
        return self.text.decode(written[0].tolist())

    def _save(self) -> None:
        tokens = self.step * self.tokens_per_step
        weights, state = self.engine.model.state_dict(), self.engine.state()
        keep = self.recipe.settings.keep_checkpoints
        done = checkpoint.save(self.run.directory, self.step, tokens, self.seconds, weights, state, keep)
        self.saved = self.step
        path = done.path.relative_to(self.run.directory).as_posix()
        self.events.write("checkpoint", step=done.step, path=path, bytes=done.bytes, sha256=dict(done.sha256))
        self.events.sync()

    def _metric(self, name: str, value: float) -> None:
        self.events.write("metric", step=self.step, name=name, value=value)
