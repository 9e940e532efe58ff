"""What every stage that optimises weights has in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from specc import ir
from specc.diagnostics import At, Finding
from specc.ir.component import Component
from specc.ir.derivation import derive_ramp
from specc.kinds.optimizer import Optimizer
from specc.kinds.optimizer.rule import check_rules
from specc.kinds.schedule import Schedule
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.mention import LANGUAGE_MODEL, Mention
from specc.spec.base import Node, execution, identity, numerics, section
from specc.spec.parallelism import Parallelism, ParallelismSpec
from specc.spec.quantities import BatchSize, Cadence, Duration, InSteps, Quantity, Steps, quantity


class CheckpointSpec(Node):
    """When the state is written."""

    every: Cadence = execution("Distance between checkpoints.", quantity("10%"))
    keep_last: int = execution("How many are kept.", 2, ge=1)
    keep_every: Cadence | None = execution(
        "Of each stretch of this length, the first checkpoint is kept for good; `null` keeps only the last ones.", None
    )
    asynchronous: bool = execution(
        "Whether files are written while training goes on, from a copy of the state in host memory.", False
    )
    canary: bool = execution(
        "Whether saving is tried out after the first step: saved, read back, compared bit for bit and deleted.", True
    )

    def lower(self, steps: int | None) -> dict[str, object]:
        """Options of a stage of so many steps."""
        return {
            "checkpoint_every": cadence_in_steps(self.every, steps),
            "keep_checkpoints": self.keep_last,
            "keep_checkpoint_every": None if self.keep_every is None else cadence_in_steps(self.keep_every, steps),
            "checkpoint_asynchronous": self.asynchronous,
            "checkpoint_untried": not self.canary,
        }


class TrainingStage(Node):
    """Fields of every stage that optimises weights. Subclasses say what they train and on what."""

    lowered: ClassVar[bool]
    leaves: ClassVar[str | None] = LANGUAGE_MODEL
    families: ClassVar[tuple[str, ...]] = ("decoder",)
    """Kinds of model that it takes."""
    alone: ClassVar[str | None] = None
    """What of the data stands in a sequence of its own, however short it is; None where texts fill the sequences."""

    data: str = identity("Data set that is trained on.")
    duration: Duration = identity("How long: tokens, steps, or passes over the data.")
    global_batch_size: BatchSize = identity("Tokens or sequences per optimizer step, over all devices.")
    optimizer: Optimizer = section("The optimizer.")
    schedule: Schedule = section("The learning rate over time.")
    max_grad_norm: float | None = identity("Gradients are scaled down to this norm; `null` leaves them.", 1.0, gt=0.0)
    steps: Annotated[int, Field(ge=1)] | Literal["auto"] = execution(
        "Optimizer steps. They follow from the duration; written out, they are checked.", "auto"
    )
    precision: Literal["fp32", "bf16", "fp16", "fp8"] = numerics(
        "Type that matrix products are computed in; states are fp32. `fp8` is for the projections inside the blocks, "
        "and what is around them is bf16.",
        "bf16",
    )
    loss_scale: Annotated[float, Field(gt=0.0)] | Literal["dynamic"] | None = numerics(
        "Factor that keeps small gradients within fp16; `null` where the precision is another.", None
    )
    parallelism: Parallelism = section("How it is spread over devices.", default_factory=ParallelismSpec)
    checkpoint: CheckpointSpec = section("When the state is written.", default_factory=CheckpointSpec)
    log_every: Steps = execution("Distance between reported metrics.", quantity("10 steps"))

    def mentions(self) -> tuple[Mention, ...]:
        """The data."""
        return (Mention(("data",), self.data, "data"),)

    def reads_reference(self) -> bool:
        """Whether a frozen reference model reads every token too."""
        return False

    def sequence_length(self, context_length: int) -> int:
        """Tokens of a sequence at most."""
        return context_length

    def length_keys(self) -> tuple[tuple[str, ...], ...]:
        """Where the length of a sequence is written: below the stage, or in the model where there is nothing."""
        return ()

    def data_per_sequence(self, length: int) -> Fraction:
        """Tokens of the data set in a sequence of `length` tokens; what is generated after them is no data."""
        return Fraction(length)

    def reads(self, context: StageContext) -> tuple[str, ...]:
        """Data sets whose content decides the outcome."""
        del context
        return (self.data,)

    def check_training(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """Values that contradict each other, broken batches, and epochs of data of unknown size.

        `datasets` gives the size in tokens by name.
        """
        at = ("stages", name)
        yield from check_rules(self.optimizer.rules, (*at, "optimizer"))
        yield from self._check_precision(name)
        batch = self.global_batch_size
        length, size = self.sequence_length(context_length), datasets.get(self.data)
        if batch.unit == "tokens" and batch.amount % length:
            keys = [At((*at, *key)) for key in self.length_keys()] or [At(("model", "context_length"))]
            yield _broken_batch(batch, length, (At((*at, "global_batch_size")), *keys))
        yield from self._check_one_step(name, length, size)
        if self.duration.unit == "epochs" and self.data in datasets:
            yield from self._check_epochs(name, length, size)

    def lower_training(
        self, context: StageContext, trainable: int, adapter: Component | None, **options: object
    ) -> ir.Training:
        """Quantities as whole sequences and steps; durations are rounded up to whole steps."""
        model = context.model
        length = self.sequence_length(model.context_length)
        sizes = self.batch_sizes(length)
        steps = self._steps(context.datasets[self.data].tokens, length)

        to_steps = in_steps(steps, length, sizes)
        rules = self.optimizer.lower()
        decay: Quantity | None = getattr(self.schedule, "decay", None)
        return ir.Training(
            steps=steps,
            global_batch_size=int(sizes.final),
            context_length=length,
            optimizer=rules[-1].optimizer,
            rules=rules,
            schedule=self.schedule.lower(self.optimizer.learning_rate, steps, to_steps),
            warmup_steps=to_steps(self.schedule.warmup),
            decay_steps=0 if decay is None else to_steps(decay, True),
            asserted_steps=None if self.steps == "auto" else self.steps,
            loss_scale=self.loss_scale,
            max_grad_norm=self.max_grad_norm,
            precision=self.precision,
            requested=self.parallelism.lower(),
            trainable_parameters=trainable,
            reference_forward=self.reads_reference(),
            adapter=adapter,
            phases=sizes.phases,
            options={
                **self.checkpoint.lower(steps),
                "log_every": self.log_every.whole,
                **options,
            },
        )

    def _check_epochs(self, name: str, length: int, size: int | None) -> Iterator[Finding]:
        """Epochs of data whose size nobody said, or of texts that may be shorter than their sequences."""
        at = (At(("stages", name, "duration")), At(("data", self.data), of_key=True))
        if size is None:
            uncounted = (f"steps, time and cost of `{name}` are unknown, and every sum leaves them out",)
            yield Finding(
                "SPC212",
                f"`{self.duration}` of `{self.data}` has no length: the data set does not say how large it is",
                at,
                () if self.lowered else uncounted,
                help=f"write `data.{self.data}.tokens`, or give the duration in tokens or steps",
                severity="error" if self.lowered else "warning",
            )
        elif self.alone is not None:
            steps, read = self._steps(size, length), math.floor(self.data_per_sequence(length))
            yield Finding(
                "SPC218",
                f"`{self.duration}` of `{self.data}` is counted as {steps:,} steps, and may take more",
                at,
                (f"each {self.alone} stands in a sequence of its own, and its {read:,} tokens are taken as full",),
                help="give the duration in steps where you know how many there are",
                severity="note",
            )

    def _check_one_step(self, name: str, length: int, size: int | None) -> Iterator[Finding]:
        """A duration that does not fill one batch; `size` is that of the data in tokens."""
        duration, sequences = self.duration, self._sequences(length)
        step = sequences * (self.data_per_sequence(length) if duration.unit == "epochs" else length)
        in_data = Fraction(size or step)
        asked = {"tokens": Fraction(1), "epochs": in_data, "steps": step}[duration.unit] * duration.amount
        if asked < step:
            yield Finding(
                "SPC318",
                f"a duration of {math.floor(asked):,} tokens is less than one step of {math.floor(step):,}",
                (At(("stages", name, "duration")), At(("stages", name, "global_batch_size"))),
                help=f"use `duration: 1 step` for {math.floor(step):,} tokens, or a smaller batch",
            )

    def derive_data_per_sequence(self, path: str, at: str, length: int) -> ir.Derivation:
        """The sum behind `data_per_sequence(length)`, where that is not the whole; `at` is the path of the stage."""
        raise NotImplementedError

    def _check_precision(self, name: str) -> Iterator[Finding]:
        """fp16 without a scale for the loss, and a scale that nothing needs."""
        at = ("stages", name)
        precision, scale = At((*at, "precision")), At((*at, "loss_scale"))
        if self.precision == "fp16" and self.loss_scale is None:
            note = "gradients below 6e-8 are zero in fp16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2)"
            headline = "`fp16` needs a loss scale, and none is given"
            yield Finding("SPC307", headline, (precision,), (note,), help="add `loss_scale: dynamic`")
        if self.precision == "fp16" and isinstance(self.loss_scale, float) and self.loss_scale < 1:
            headline = f"a loss scale of {self.loss_scale:g} makes gradients smaller, and fp16 loses small ones"
            yield Finding("SPC321", headline, (scale, precision), help="use `loss_scale: dynamic`", severity="warning")
        if self.precision != "fp16" and self.loss_scale is not None:
            headline = f"a loss scale is for `fp16`, and the precision is `{self.precision}`"
            yield Finding("SPC314", headline, (scale, precision), help="leave `loss_scale` out")

    def derivations(self, name: str, context: StageContext, work: ir.Training) -> Iterator[ir.Derivation]:
        """The lengths of a stage in sequences and optimizer steps, with the sums that `lower_training` did."""
        at, given = f"stages.{name}", self.global_batch_size
        length = ir.Input("context_length", work.context_length, "model.context_length")
        if self.length_keys():
            parts = tuple(ir.Input(key[-1], getattr(self, key[-1]), f"{at}.{key[-1]}") for key in self.length_keys())
            formula, meaning = " + ".join(part.name for part in parts), "Tokens of a sequence at most."
            yield ir.Derivation(f"{at}.sequence_length", work.context_length, meaning, formula, parts)
            length = ir.Input("sequence_length", work.context_length, f"{at}.sequence_length")
        batch = ir.Input("batch_sequences", work.global_batch_size, f"{at}.batch_sequences")
        whole = ir.Input("batch", given.amount, f"{at}.global_batch_size")
        formula, inputs = (f"batch / {length.name}", (whole, length)) if given.unit == "tokens" else ("batch", (whole,))
        yield ir.Derivation(
            f"{at}.batch_sequences",
            work.global_batch_size,
            "Sequences per optimizer step, over all devices.",
            formula,
            inputs,
        )
        steps = ir.Input("steps", work.steps, f"{at}.steps")
        size = ir.Input("tokens", context.datasets[self.data].tokens, f"data.{self.data}.tokens")
        read = length
        if self.duration.unit == "epochs" and self.data_per_sequence(work.context_length) != work.context_length:
            told = self.derive_data_per_sequence(f"{at}.data_per_sequence", at, work.context_length)
            yield told
            read = ir.Input("data_per_sequence", told.value, told.path)
        yield from self.derive_phases(at, work.batch_sizes)
        ramp = derive_ramp(at, work.batch_sizes)
        yield from length_in_steps(
            f"{at}.steps", work.steps, "Optimizer steps.", self.duration, f"{at}.duration", (batch, read, size), ramp
        )
        yield from length_in_steps(
            f"{at}.warmup_steps", work.warmup_steps, "Optimizer steps in which the learning rate rises.",
            self.schedule.warmup, f"{at}.schedule.warmup", (batch, length, steps), ramp,
        )  # fmt: skip
        if work.steps is not None:
            meaning, formula = "Tokens seen in training.", f"steps * batch_sequences * {length.name}"
            if ramp:
                formula = f"(ramp_sequences + (steps - ramp_steps) * batch_sequences) * {length.name}"
            yield ir.Derivation(f"{at}.tokens", work.tokens, meaning, formula, (steps, batch, length, *ramp))

    def derive_phases(self, at: str, sizes: ir.BatchSizes) -> Iterator[ir.Derivation]:
        """The sums behind batches that grow; `at` is the path of the stage."""
        del at, sizes
        return iter(())

    def batch_sizes(self, length: int) -> ir.BatchSizes:
        """Sequences of each step, of `length` tokens each."""
        return ir.BatchSizes(self._sequences(length))

    def _sequences(self, length: int) -> Fraction:
        """Sequences in a batch."""
        batch = self.global_batch_size
        return batch.amount / length if batch.unit == "tokens" else batch.amount

    def _steps(self, size: int | None, length: int) -> int | None:
        """`size` is that of the data in tokens, `length` that of a sequence."""
        duration, sizes = self.duration, self.batch_sizes(length)
        if duration.unit == "steps":
            return duration.whole
        if duration.unit == "tokens":
            return sizes.steps_for(duration.amount / length)
        return None if size is None else sizes.steps_for(duration.amount * size / self.data_per_sequence(length))


def length_in_steps(
    path: str,
    value: int | None,
    meaning: str,
    given: Quantity,
    written: str,
    inputs: tuple[ir.Input, ir.Input, ir.Input],
    ramp: tuple[ir.Input, ...],
) -> Iterator[ir.Derivation]:
    """A length in steps; `inputs` are the batch, the context length and what a share or an epoch is a part of.

    `ramp` are the steps and sequences before the batch is whole, where it grows.
    """
    if value is None:
        return
    batch, context_length, whole = inputs
    amount = ir.Input(written.rpartition(".")[2], given.amount, written)
    read = amount.name if given.unit == "tokens" else f"{amount.name} * {whole.name}"
    tokens = f"ceil({read} / ({batch.name} * {context_length.name}))"
    if ramp and given.unit in ("tokens", "epochs"):
        if value <= ramp[0].value:
            reasons = ("the first steps whose growing batches see as much",)
            yield ir.Derivation(path, value, meaning, None, (amount, *ramp), reasons)
            return
        rest = f"{read} / {context_length.name} - {ramp[1].name}"
        tokens = f"{ramp[0].name} + ceil(({rest}) / {batch.name})"
    formula, used = {
        "steps": (amount.name, ()),
        "tokens": (tokens, (batch, context_length, *ramp)),
        "epochs": (tokens, (*inputs, *ramp)),
        "%": (f"ceil({amount.name} * {whole.name} / 100)", (whole,)),
    }[given.unit]
    yield ir.Derivation(path, value, meaning, formula, (amount, *used))


def cadence_in_steps(cadence: Quantity, steps: int | None) -> int | None:
    """A distance in optimizer steps, at least one; None for a share of an unknown duration."""
    if cadence.unit == "steps":
        return cadence.whole
    return None if steps is None else max(1, math.floor(cadence.amount * steps / 100))


def in_steps(steps: int | None, length: int, sizes: ir.BatchSizes) -> InSteps:
    """What tells the length of a part of a stage that takes `steps`."""

    def told(part: Quantity, at_end: bool = False, /) -> int:
        return part_in_steps(part, steps, length, replace(sizes, phases=()) if at_end else sizes)

    return told


def part_in_steps(part: Quantity, steps: int | None, length: int, sizes: ir.BatchSizes) -> int:
    """A part of a stage in optimizer steps; a share of an unknown duration is 0 until the duration is known."""
    if part.unit == "steps":
        return part.whole
    if part.unit == "tokens":
        return sizes.steps_for(part.amount / length)
    return 0 if steps is None else math.ceil(part.amount * steps / 100)


def _broken_batch(batch: Quantity, context_length: int, at: tuple[At, ...]) -> Finding:
    below, above = math.floor(batch.amount / context_length), math.ceil(batch.amount / context_length)
    choices = " or ".join(f"`{n} sequences` ({n * context_length:,} tokens)" for n in (below, above) if n)
    tokens = float(batch.amount) if batch.amount.denominator != 1 else batch.whole
    return Finding(
        "SPC301",
        f"a global batch of {tokens:,} tokens is not a whole number of {context_length:,}-token sequences",
        at,
        (f"{tokens:,} / {context_length:,} = {float(batch.amount / context_length):,.2f}",),
        help=f"use {choices}",
    )
