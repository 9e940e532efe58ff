"""Pretraining."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.ir.derivation import derive_ramp
from specc.kinds.objective import Objective
from specc.kinds.objective.causal import Causal
from specc.kinds.objective.place import Place
from specc.kinds.packing import Packing
from specc.kinds.packing.concatenate import Concatenate
from specc.kinds.spike import Spike
from specc.kinds.spike.ignore import Ignore
from specc.kinds.stage.averaging import EmaSpec
from specc.kinds.stage.batch_schedule import BatchSizeScheduleSpec
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.curriculum import CurriculumSpec
from specc.kinds.stage.mention import Mention
from specc.kinds.stage.training import TrainingStage, cadence_in_steps, in_steps, length_in_steps, part_in_steps
from specc.spec.base import Node, execution, identity, numerics, section, values_of
from specc.spec.quantities import Cadence, Tokens, quantity


class ValidationSpec(Node):
    """Loss on the held-out split during training."""

    every: Cadence = execution("Distance between measurements.", quantity("5%"))
    batches: int = execution("Batches of the global batch size that are scored.", 8, ge=1)


class SampleSpec(Node):
    """Text generated at the end of training, or on the way as well."""

    prompt: str = execution("What the text starts with.", "The ")
    tokens: int = execution("Tokens generated, within the context.", 64, ge=1)
    every: Cadence | None = execution("Distance between samples; `null` writes one at the end only.", None)


class EvaluationSpec(Node):
    """Suites that the model is scored on while it is trained (Biderman et al. 2023, Pythia, arXiv:2304.01373)."""

    suites: tuple[str, ...] = execution("Suites it is scored on.", min_length=1)
    every: Cadence = execution("Distance between measurements.", quantity("10%"))
    limit: int | None = execution("First N documents of each task only; `null` is all.", 100, ge=1)
    batch_size: int = execution("Sequences per forward pass.", 16, ge=1)


class EarlyStoppingSpec(Node):
    """Ends the run when the validation loss falls no more (Prechelt 1998, "Early stopping - but when?", section 2)."""

    patience: int = identity("Measurements without a lower loss after which the run ends.", ge=1)
    min_delta: float = identity("Nats per token that a loss must be lower by to count as lower.", 0.0, ge=0.0)


class Pretrain(TrainingStage):
    """Training on text (Radford et al. 2018, GPT, section 3.1), from random weights or another stage's.

    From another stage's weights it is continued pretraining (Gururangan et al. 2020, arXiv:2004.10964): the optimizer
    and the schedule begin anew.
    """

    lowered: ClassVar[bool] = True
    # Which of them is for its objective to say.
    families: ClassVar[tuple[str, ...]] = ("decoder", "encoder", "encoder_decoder")

    kind: Literal["pretrain"] = identity("The choice.")
    base: str | None = identity("Stage whose weights it starts from; `null` draws them anew.", None, alias="from")
    objective: Objective = section("What is predicted from what.", Causal(kind="causal"))
    validation: ValidationSpec = section("Loss on held-out documents.", default_factory=ValidationSpec)
    packing: Packing = section("How documents share a sequence.", default_factory=Concatenate)
    curriculum: CurriculumSpec = section("What changes in the data meanwhile.", default_factory=CurriculumSpec)
    sample: SampleSpec = section("Text that is generated.", default_factory=SampleSpec)
    evaluation: EvaluationSpec | None = section("Suites that are scored on the way; `null` is none.", None)
    on_spike: Spike = section("What happens when the loss jumps.", Ignore(kind="ignore"))
    early_stopping: EarlyStoppingSpec | None = section("When it ends before its duration; `null` is never.", None)
    z_loss: float = identity(
        "Times log^2 Z, added to the loss: keeps the logits near zero (PaLM, arXiv:2204.02311: 1.0e-4).", 0.0, ge=0.0
    )
    label_smoothing: float = identity("Share of a target that is spread over all tokens alike.", 0.0, ge=0.0, lt=1.0)
    loss_chunk: Tokens | None = numerics(
        "Tokens whose logits exist at one time, computed again in the backward pass; `null` is all at once.", None
    )
    batch_size_schedule: BatchSizeScheduleSpec | None = section(
        "Smaller batches at the beginning; `null` is the same batch throughout.", None
    )
    ema: EmaSpec | None = section("A moving average of the weights; `null` keeps none.", None)

    def mentions(self) -> tuple[Mention, ...]:
        """The stage whose weights it starts from, the data, and what it is scored on."""
        named = () if self.base is None else (Mention(("from",), self.base, "stage"),)
        suites = () if self.evaluation is None else self.evaluation.suites
        scored = (Mention(("evaluation", "suites", index), name, "suite") for index, name in enumerate(suites))
        return (*named, *super().mentions(), *scored)

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """What every training stage checks, and a sample that is longer than the model was trained for."""
        yield from self.check_training(name, context_length, datasets)
        if self.batch_size_schedule is not None:
            yield from self.batch_size_schedule.check(("stages", name), self.global_batch_size, context_length)
        yield from self._check_curriculum(name, context_length, datasets.get(self.data))
        if self.sample.tokens > context_length:
            at = (At(("stages", name, "sample", "tokens")), At(("model", "context_length")))
            headline = f"a sample of {self.sample.tokens:,} tokens is longer than the context of {context_length:,}"
            note = "the runner cuts it: a model is trained for its context only"
            help_text = f"use at most {context_length:,}"
            yield Finding("SPC515", headline, at, (note,), help=help_text, severity="warning")

    def data_per_sequence(self, length: int) -> Fraction:
        """Tokens of the data set that a sequence is made of."""
        return Fraction(self.objective.data_tokens(length))

    def derive_data_per_sequence(self, path: str, at: str, length: int) -> ir.Derivation:
        """What the objective hides takes fewer places than it has tokens."""
        del at
        inputs = (ir.Input("context_length", length, "model.context_length"),)
        meaning = "Tokens of the data set in a sequence."
        reasons = ("the most tokens whose inputs, a hidden span as one place, fill the context",)
        return ir.Derivation(path, self.data_per_sequence(length), meaning, None, inputs, reasons)

    def batch_sizes(self, length: int) -> ir.BatchSizes:
        """Sequences of each step, the first ones by the schedule."""
        plain = super().batch_sizes(length)
        schedule = self.batch_size_schedule
        return plain if schedule is None else replace(plain, phases=schedule.phases(plain.final, length))

    def derive_phases(self, at: str, sizes: ir.BatchSizes) -> Iterator[ir.Derivation]:
        """Steps and sequences of the batches that grow."""
        if self.batch_size_schedule is not None:
            yield from self.batch_size_schedule.derive(at, sizes)

    def lower(self, context: StageContext) -> ir.Training:
        """Every weight is trained."""
        training = self.lower_training(
            context,
            context.model.parameters,
            None,
            base=self.base,
            validation_batches=self.validation.batches,
            packing=self.packing.kind,
            cross_document=self.packing.cross_document,
            sample_prompt=self.sample.prompt,
            sample_tokens=self.sample.tokens,
            z_loss=self.z_loss,
            label_smoothing=self.label_smoothing,
            ema=None if self.ema is None else {"decay": self.ema.decay, "every": self.ema.every.whole},
        )
        every = cadence_in_steps(self.validation.every, training.steps)
        predicted = context.model.values.get("prediction", {"depth": 1})
        place = Place(context.model.family, context.model.context_length, predicted["depth"])
        objective = self.objective.lower(place, context.tokenizer)
        sampled = None if self.sample.every is None else cadence_in_steps(self.sample.every, training.steps)
        stopping = None if self.early_stopping is None else values_of(self.early_stopping)
        options = {**training.options, "validate_every": every, "sample_every": sampled, "early_stopping": stopping}
        curriculum = self.curriculum.lower(in_steps(training.steps, training.context_length, training.batch_sizes))
        training = replace(
            training,
            options=options,
            objective=objective,
            on_spike=self.on_spike.lower(),
            loss_chunk=None if self.loss_chunk is None else self.loss_chunk.whole,
            averaged=self.ema is not None,
            curriculum=curriculum,
        )
        return training if self.evaluation is None else replace(training, **self._scored(context, training.steps))

    def derivations(self, name: str, context: StageContext, work: ir.Training) -> Iterator[ir.Derivation]:
        """The lengths that every training stage has, and the points at which the data change."""
        yield from super().derivations(name, context, work)
        at = f"stages.{name}"
        batch = ir.Input("batch_sequences", work.global_batch_size, f"{at}.batch_sequences")
        length = ir.Input("context_length", work.context_length, "model.context_length")
        steps = ir.Input("steps", work.steps, f"{at}.steps")
        for place, part in self.curriculum.parts() if work.steps is not None else ():
            written = ".".join((at, "curriculum", *map(str, place)))
            value = part_in_steps(part, work.steps, work.context_length, work.batch_sizes)
            meaning = "Optimizer steps from the start of the stage."
            inputs, ramp = (batch, length, steps), derive_ramp(at, work.batch_sizes)
            yield from length_in_steps(f"{written}_step", value, meaning, part, written, inputs, ramp)

    def _check_curriculum(self, name: str, context_length: int, size: int | None) -> Iterator[Finding]:
        """What contradicts itself, or is asked of an objective that has rows of its own."""
        at, steps = ("stages", name), self._steps(size, context_length)
        to_steps = None if steps is None else in_steps(steps, context_length, self.batch_sizes(context_length))
        yield from self.curriculum.check((*at, "curriculum"), context_length, to_steps, steps)
        asked = [
            (what, key)
            for what, key, given in (
                ("sequences that are filled up", "packing", self.packing.fills_up),
                ("short sequences", "curriculum.sequence_length", self.curriculum.sequence_length is not None),
                ("ids in parts", "curriculum.vocabulary", bool(self.curriculum.vocabulary)),
            )
            if given and not self.objective.takes_rows
        ]
        for what, key in asked:
            places = (At((*at, *key.split("."))), At((*at, "objective")))
            headline = f"objective `{self.objective.kind}` makes its rows itself, and takes no {what}"
            note = "its inputs and targets are made of whole sequences of the context's length"
            yield Finding("SPC226", headline, places, (note,), help="use `objective: {kind: causal}`")
        if self.packing.fills_up and self.duration.unit == "epochs" and steps is not None:
            yield Finding(
                "SPC227",
                f"`{self.duration}` of `{self.data}` is counted as {steps:,} steps, and takes more",
                (At((*at, "duration")), At((*at, "packing"))),
                ("documents that are kept whole leave room at the ends of sequences, which are counted as full",),
                help="give the duration in steps where you know how many there are",
                severity="note",
            )

    def _scored(self, context: StageContext, steps: int | None) -> dict[str, Any]:
        """What is scored on the way, and how often."""
        assert self.evaluation is not None, "nothing is scored"
        suites = tuple(context.suites[suite] for suite in self.evaluation.suites)
        scored = ir.Evaluation((), suites, (), self.evaluation.limit, self.evaluation.batch_size)
        return {"evaluation": scored, "evaluate_every": cadence_in_steps(self.evaluation.every, steps)}
