"""Batches that grow at the beginning of a stage."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated

from specc import ir
from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.ir.batches import even_ramp, ramp
from specc.spec.base import Node, identity
from specc.spec.quantities import BatchSize, Quantity, Units

RampLength = Annotated[Quantity, Units(("tokens", "sequences", "steps"), "12B tokens")]
"""How long batches grow."""


class BatchSizeScheduleSpec(Node):
    """Smaller batches first (Brown et al. 2020, arXiv:2005.14165, section 2.3: from 32k tokens over 4-12 billion).

    The batch grows in equal steps after equal shares of the tokens, as Megatron-LM's `rampup_batch_size` does.
    """

    start: BatchSize = identity("Tokens or sequences of the first optimizer steps.")
    increment: BatchSize = identity("Tokens or sequences by which the batch grows at a time.")
    duration: RampLength = identity("How long it grows, until it is `global_batch_size`.")

    def phases(self, final: Fraction, length: int) -> tuple[tuple[int, int], ...]:
        """Steps with the sequences of each, before the steps of `final` sequences; none where they do not fit."""
        start, increment = _sequences(self.start, length), _sequences(self.increment, length)
        if any(size.denominator != 1 for size in (final, start, increment)):
            return ()
        first, step, last = int(start), int(increment), int(final)
        if first >= last or (last - first) % step:
            return ()
        if self.duration.unit == "steps":
            return tuple(even_ramp(first, step, last, self.duration.whole))
        return tuple(ramp(first, step, last, _sequences(self.duration, length)))

    def check(self, at: Path, given: Quantity, length: int) -> Iterator[Finding]:
        """Sizes that are no whole sequences, or that never become the global batch. `at` is the path of the stage."""
        own: Path = (*at, "batch_size_schedule")
        sizes = {"start": self.start, "increment": self.increment}
        for key, size in sizes.items():
            if _sequences(size, length).denominator != 1:
                yield Finding(
                    "SPC342",
                    f"{size} are no whole sequences of {length:,} tokens",
                    (At((*own, key)), At(("model", "context_length"))),
                    (f"{int(size.amount):,} / {length:,} leaves {int(size.amount) % length:,}",),
                    help=f"use `{key}: {max(1, round(size.amount / length)):,} sequences`".replace(",", ""),
                )
        start, step, final = (_sequences(size, length) for size in (self.start, self.increment, given))
        if any(size.denominator != 1 for size in (start, step, final)):
            return
        places = (At((*own, "start")), At((*at, "global_batch_size")))
        if start >= final:
            headline = f"a batch of {int(start):,} sequences does not grow to one of {int(final):,}"
            yield Finding("SPC343", headline, places, help="leave `batch_size_schedule` out, or begin with fewer")
        elif (final - start) % step:
            headline = f"a batch that grows from {int(start):,} by {int(step):,} sequences misses {int(final):,}"
            fitting = max(size for size in range(1, int(step) + 1) if (final - start) % size == 0)
            where = (At((*own, "increment")), *places)
            yield Finding("SPC343", headline, where, help=f"use `increment: {fitting} sequence{'s' * (fitting > 1)}`")

    def derive(self, at: str, sizes: ir.BatchSizes) -> Iterator[ir.Derivation]:
        """The steps and sequences of the phases, as sums. `at` is the path of the stage."""
        told = [(f"steps_{index}", f"sequences_{index}", *phase) for index, phase in enumerate(sizes.phases, start=1)]
        counts = tuple(ir.Input(name, steps) for name, _, steps, _ in told)
        each = tuple(part for name, size, steps, held in told for part in (ir.Input(name, steps), ir.Input(size, held)))
        reasons = tuple(f"{steps:,} steps of {held:,} sequences" for _, _, steps, held in told)
        yield ir.Derivation(
            f"{at}.ramp_steps",
            sum(steps for steps, _ in sizes.phases),
            "Optimizer steps before the batch is whole.",
            " + ".join(part.name for part in counts),
            counts,
            reasons,
        )
        yield ir.Derivation(
            f"{at}.ramp_sequences",
            sum(steps * held for steps, held in sizes.phases),
            "Sequences seen before the batch is whole.",
            " + ".join(f"{name} * {size}" for name, size, _, _ in told),
            each,
        )


def _sequences(size: Quantity, length: int) -> Fraction:
    return size.amount / length if size.unit == "tokens" else size.amount
