"""Mixtures by phase against the data set that they are mixtures of."""

from __future__ import annotations

import math
from collections.abc import Iterator

from specc.diagnostics import At, Change, Finding, Remedy
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.kinds.stage.curriculum import CurriculumSpec, MixturePhase
from specc.spec.data import Data
from specc.spec.spec import Spec

# A sum of shares that were written with a few decimals differs from 1 by rounding alone.
_ROUNDING = 1e-9


def check_curricula(spec: Spec) -> Iterator[Finding]:
    """Phases that name sources which their data set does not have, and weights that do not add up."""
    for name, stage in spec.stages.items():
        curriculum = getattr(stage, "curriculum", None)
        data = spec.data.get(getattr(stage, "data", ""))
        if curriculum is None or data is None:
            continue
        for index, phase in enumerate(curriculum.mixture):
            at: Path = ("stages", name, "curriculum", "mixture", index, "weights")
            yield from _unknown(at, phase, data, str(getattr(stage, "data", "")))
            yield from _sum(at, phase, data)
        if curriculum.vocabulary:
            yield from _merges(("stages", name, "curriculum", "vocabulary"), curriculum, spec)


def _unknown(at: Path, phase: MixturePhase, data: Data, name: str) -> Iterator[Finding]:
    for source in phase.weights:
        if source in data.sources:
            continue
        near = nearest(source, list(data.sources))
        listed = ", ".join(f"`{each}`" for each in data.sources)
        places = (At((*at, source), of_key=True), At(("data", name, "sources"), of_key=True))
        help_text = f"did you mean `{near}`?" if near else f"it has {listed}"
        remedy = Remedy((Change("rename", (*at, source), near),), safe=False) if near else None
        yield Finding("SPC220", f"`{name}` has no source `{source}`", places, help=help_text, remedy=remedy)


def _merges(at: Path, curriculum: CurriculumSpec, spec: Spec) -> Iterator[Finding]:
    """A tokenizer without merges, and more of them than it can have."""
    tokenizer = spec.tokenizer
    if not tokenizer.has_merges:
        headline = f"a vocabulary grows by merges, and a tokenizer of kind `{tokenizer.kind}` has none"
        yield Finding("SPC232", headline, (At(at), At(("tokenizer", "kind"))), help="leave `vocabulary` out")
        return
    ids, last = tokenizer.lower().vocab_size, len(curriculum.vocabulary) - 1
    if curriculum.vocabulary[last].merges >= ids:
        headline = f"{curriculum.vocabulary[last].merges:,} merges are more than a tokenizer of {ids:,} ids has"
        places = (At((*at, last, "merges")), At(("tokenizer", "vocab_size")))
        yield Finding("SPC231", headline, places, help="name fewer: all of them are in use after the last step")


def _sum(at: Path, phase: MixturePhase, data: Data) -> Iterator[Finding]:
    total = math.fsum(phase.weights.values())
    if total and (data.normalize_weights or abs(total - 1.0) <= _ROUNDING):
        return
    summed = " + ".join(f"{weight:g}" for weight in phase.weights.values())
    notes = (f"{summed} = {total:.10g}",) if len(phase.weights) > 1 else ()
    places = tuple(At((*at, source)) for source in phase.weights)
    yield Finding("SPC228", f"the weights of a phase add up to {total:.10g}, not 1", places, notes, help=_mended(phase))


def _mended(phase: MixturePhase) -> str:
    largest = max(phase.weights, key=phase.weights.__getitem__)
    rest = 1.0 - math.fsum(weight for source, weight in phase.weights.items() if source != largest)
    return f"write `{largest}: {rest:.10g}`" if rest > 0.0 else "let the weights of each phase add up to 1"
