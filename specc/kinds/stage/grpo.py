"""Group relative policy optimisation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from specc import ir
from specc.diagnostics import At, Finding
from specc.kinds.stage.context import StageContext
from specc.kinds.stage.online import OnlineStage
from specc.spec.base import identity


class Grpo(OnlineStage):
    """Completions of one prompt measured against each other (Shao et al. 2024, DeepSeekMath, arXiv:2402.03300)."""

    lowered: ClassVar[bool] = False

    kind: Literal["grpo"] = identity("The choice.")
    group_size: int = identity("Completions of one prompt.", 8, ge=1)
    kl: float = identity("Weight of the distance from the reference; 0 to go without one.", 0.0, ge=0.0)
    clip: float = identity("Largest change of a token's probability ratio in one step.", 0.2, gt=0.0)

    def check(self, name: str, context_length: int, datasets: dict[str, int | None]) -> Iterator[Finding]:
        """What online stages check, and groups that nothing can be learned from."""
        yield from super().check(name, context_length, datasets)
        batch = self.global_batch_size
        sequences = batch.amount
        if batch.unit == "tokens":
            sequences /= self.sequence_length(context_length)
        if self.group_size == 1:
            yield Finding(
                "SPC503",
                "a group of 1 completion has no advantage to learn from",
                (At(("stages", name, "group_size")),),
                ("advantage = reward - mean of the group, which is 0 (Shao et al. 2024, arXiv:2402.03300)",),
                help=f"use `group_size: {_nearest(8, int(sequences))}`",
            )
        elif sequences.denominator == 1 and sequences % self.group_size:
            yield self._broken_groups(name, int(sequences))

    def completions_of_a_prompt(self) -> int:
        """The group."""
        return self.group_size

    def _broken_groups(self, name: str, sequences: int) -> Finding:
        at = ("stages", name)
        written = "global_batch_size" in self.model_fields_set
        above = -(-sequences // self.group_size) * self.group_size
        return Finding(
            "SPC513",
            f"a batch of {sequences:,} completions is no whole number of groups of {self.group_size:,}",
            (
                At((*at, "group_size")),
                At((*at, "global_batch_size"), "" if written else f"its `global_batch_size` is {sequences} sequences"),
            ),
            (f"{sequences:,} / {self.group_size:,} leaves {sequences % self.group_size:,}",),
            help=f"use `group_size: {_nearest(self.group_size, sequences)}`, or `global_batch_size: {above} sequences`",
        )

    def lower(self, context: StageContext) -> ir.Training:
        """The optimizer's part: completions are generated before, which no figure counts."""
        return self.lower_from_base(context, **self.options(), group_size=self.group_size, clip=self.clip)


def _nearest(size: int, sequences: int) -> int:
    """The size of more than 1 nearest to `size` that divides a batch."""
    return min((n for n in range(2, sequences + 1) if sequences % n == 0), key=lambda n: abs(n - size), default=size)
