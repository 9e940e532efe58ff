"""What changes in the data while a stage trains."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.ir.component import Component
from specc.kinds.sequence_length import SequenceLength
from specc.spec.base import Identifier, Node, identity, section
from specc.spec.quantities import InSteps, Part, Percent, Quantity, quantity


class MixturePhase(Node):
    """A part of the stage with its own weights for the sources."""

    until: Part | None = identity("Where the next phase begins, from the start of the stage; the last has none.", None)
    weights: dict[Identifier, Annotated[float, Field(ge=0.0)]] = identity(
        "Share of the sequences that each source gives; one that is not named gives none.", min_length=1
    )


class DifficultySpec(Node):
    """Easy sequences first: each step draws among those that are not too hard yet (Platanios et al. 2019,
    arXiv:1903.09848, section 2).
    """

    score: Literal["rarity", "compression"] = identity(
        "What is hard: rare tokens (Platanios et al. 2019), or such that do not compress (Zhang et al. 2025, "
        "arXiv:2506.11300).",
        "rarity",
    )
    pacing: Literal["sqrt", "linear"] = identity("How the share of the sequences in use grows.", "sqrt")
    start: Percent = identity("Share of the sequences, the easiest, that the first step draws among.", quantity("1%"))
    duration: Part = identity("How long until all are in use.", quantity("50%"))


class VocabularyStep(Node):
    """The first merges of the tokenizer, up to a point of the stage."""

    until: Part = identity("Where the next vocabulary begins, from the start of the stage.")
    merges: int = identity("How many of its merges are in use, the first ones.", ge=0)


class CurriculumSpec(Node):
    """What changes in the data while the stage trains; nothing unless it is written."""

    sequence_length: SequenceLength | None = section("Short sequences first.", None)
    mixture: tuple[MixturePhase, ...] = section("Weights of the sources by phase, in place of those of the data.", ())
    difficulty: DifficultySpec | None = section("Easy sequences first.", None)
    vocabulary: tuple[VocabularyStep, ...] = section("Few merges of the tokenizer first; all after the last.", ())

    def parts(self) -> Iterator[tuple[Path, Quantity]]:
        """Every point of the stage that is written, with its place below this section."""
        for follow_one_another in self._sequels():
            yield from follow_one_another

    def check(self, at: Path, context_length: int, in_steps: InSteps | None, steps: int | None) -> Iterator[Finding]:
        """Lengths and phases that do not follow one another; `in_steps` is None where no length is known."""
        if self.sequence_length is not None:
            yield from self.sequence_length.check((*at, "sequence_length"), context_length)
        yield from self._check_ends((*at, "mixture"))
        yield from self._check_merges((*at, "vocabulary"))
        if in_steps is None or steps is None:
            return
        for parts in self._sequels():
            placed = [((*at, *path), part, in_steps(part)) for path, part in parts]
            yield from _out_of_order(placed)
            yield from _beyond(placed, steps, (*at[:-1], "duration"))

    def lower(self, in_steps: InSteps) -> Component | None:
        """Optimizer steps and tokens; None where nothing changes."""
        if not (self.sequence_length or self.mixture or self.difficulty or self.vocabulary):
            return None
        mixture = tuple(
            {
                "until": None if phase.until is None else in_steps(phase.until),
                "weights": tuple(phase.weights.items()),
            }
            for phase in self.mixture
        )
        values: dict[str, Any] = {"linear": None, "stepped": None, "mixture": mixture, "difficulty": None}
        values["vocabulary"] = tuple((in_steps(step.until), step.merges) for step in self.vocabulary)
        if self.sequence_length is not None:
            values |= self.sequence_length.lower(in_steps)
        if self.difficulty is not None:
            given = self.difficulty
            values["difficulty"] = {
                "score": given.score,
                "pacing": given.pacing,
                "start": given.start.share,
                "steps": in_steps(given.duration),
            }
        return Component("curriculum", "train/curriculum.py.j2", values)

    def _sequels(self) -> Iterator[list[tuple[Path, Quantity]]]:
        """Parts of the stage that follow one another."""
        if self.sequence_length is not None:
            yield [(("sequence_length", *path), part) for path, part in self.sequence_length.parts()]
        phases = [(("mixture", index, "until"), phase.until) for index, phase in enumerate(self.mixture)]
        yield [(path, until) for path, until in phases if until is not None]
        if self.difficulty is not None:
            yield [(("difficulty", "duration"), self.difficulty.duration)]
        yield [(("vocabulary", index, "until"), step.until) for index, step in enumerate(self.vocabulary)]

    def _check_merges(self, at: Path) -> Iterator[Finding]:
        """Each vocabulary is larger than the one before it."""
        for index, (one, other) in enumerate(pairwise(self.vocabulary)):
            if other.merges <= one.merges:
                headline = f"a vocabulary of {other.merges:,} merges follows one of {one.merges:,}"
                places = (At((*at, index + 1, "merges")), At((*at, index, "merges")))
                yield Finding("SPC231", headline, places, help="let each have more merges than the one before it")

    def _check_ends(self, at: Path) -> Iterator[Finding]:
        """Every phase but the last has an end."""
        for index, phase in enumerate(self.mixture):
            last = index == len(self.mixture) - 1
            if last and phase.until is not None:
                headline = f"the last of {len(self.mixture)} phases ends at `{phase.until}`, and nothing follows it"
                place = At((*at, index, "until"))
                yield Finding("SPC222", headline, (place,), help="leave `until` out, or add a phase without it")
            elif not last and phase.until is None:
                headline = f"phase {index + 1} of {len(self.mixture)} has no end, and another one follows it"
                yield Finding("SPC222", headline, (At((*at, index)),), help="add `until`, such as `until: 60%`")


_Placed = list[tuple[Path, Quantity, int]]
"""Where a point of the stage is written, as what, and which step that is."""


def _out_of_order(placed: _Placed) -> Iterator[Finding]:
    for (before, one, first), (after, other, second) in pairwise(placed):
        if second <= first:
            headline = f"a part that ends at `{other}` follows one that ends at `{one}`"
            places = (At(after, f"step {second:,}"), At(before, f"step {first:,}"))
            yield Finding("SPC221", headline, places, help="let each `until` be later than the one before it")


def _beyond(placed: _Placed, steps: int, duration: Path) -> Iterator[Finding]:
    for path, part, step in placed:
        if step > steps:
            headline = f"`{part}` is {step:,} steps, and the stage has {steps:,}"
            note = "what comes after it never begins"
            places, help_text = (At(path), At(duration)), "use a share such as `10%`"
            yield Finding("SPC225", headline, places, (note,), help=help_text, severity="warning")
