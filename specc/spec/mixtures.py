"""Data sets whose parts contradict each other: weights, sources, filters."""

from __future__ import annotations

import math
from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.spec.data import Data
from specc.spec.spec import Spec

# A sum of shares that were written with a few decimals differs from 1 by rounding alone.
_ROUNDING = 1e-9


def check_mixtures(spec: Spec) -> Iterator[Finding]:
    """What each data set gets wrong by itself, and filters that have nothing to filter by."""
    tokenizer = spec.tokenizer.lower()
    for name, data in spec.data.items():
        at: Path = ("data", name)
        yield from _weights((*at, "sources"), data)
        yield from _same_documents((*at, "sources"), data)
        for key, source in data.sources.items():
            yield from source.check((*at, "sources", key), tokenizer, spec.model.context_length)
        for index, filter_ in enumerate(data.filters):
            yield from filter_.check((*at, "filters", index))
        yield from _filters((*at, "filters"), data, has_suites=bool(spec.suites))


def _weights(at: Path, data: Data) -> Iterator[Finding]:
    weights = {key: source.weight for key, source in data.sources.items() if source.weight is not None}
    missing = [key for key in data.sources if key not in weights]
    if weights and missing:
        places = (At((*at, missing[0]), of_key=True), At((*at, next(iter(weights)), "weight")))
        headline = f"source `{missing[0]}` has no weight, and `{next(iter(weights))}` has one"
        yield Finding("SPC202", headline, places, help="weigh all sources, or none to pool them")
    elif weights and not data.normalize_weights and abs(math.fsum(weights.values()) - 1.0) > _ROUNDING:
        yield _not_one(at, weights)


def _not_one(at: Path, weights: dict[str, float]) -> Finding:
    total = math.fsum(weights.values())
    places = tuple(At((*at, key, "weight")) for key in weights)
    largest = max(weights, key=weights.__getitem__)
    rest = 1.0 - math.fsum(weight for key, weight in weights.items() if key != largest)
    by_hand = f", or write `weight: {rest:.10g}` for `{largest}`" if rest > 0.0 else ""
    summed = " + ".join(f"{weight:g}" for weight in weights.values())
    notes = (f"{summed} = {total:.10g}",) if len(weights) > 1 else ()
    return Finding(
        "SPC202",
        f"source weights add up to {total:.10g}, not 1",
        places,
        notes,
        help=f"`normalize_weights: true` divides them by their sum{by_hand}",
    )


def _same_documents(at: Path, data: Data) -> Iterator[Finding]:
    """Sources of one data set that read the same place: its documents are seen twice."""
    first: dict[tuple[str, str], str] = {}
    for key, source in data.sources.items():
        for place in source.places():
            other = first.setdefault((source.kind, place), key)
            if other != key:
                yield Finding(
                    "SPC214",
                    f"sources `{other}` and `{key}` both read `{place}`",
                    (At((*at, key), of_key=True), At((*at, other), of_key=True)),
                    ("each of its documents is in the mixture twice",),
                    help=f"leave one of them out, or name other files in `{key}`",
                    severity="warning",
                )


def _filters(at: Path, data: Data, *, has_suites: bool) -> Iterator[Finding]:
    """A filter that does nothing: said twice in the same words, or without anything to compare with."""
    for index, filter_ in enumerate(data.filters):
        if filter_ in data.filters[:index]:
            places = (At((*at, index), "again here"), At((*at, data.filters.index(filter_)), "first here"))
            headline = f"filter `{filter_.kind}` is written twice, and drops nothing the second time"
            yield Finding("SPC217", headline, places, help="leave one of them out", severity="warning")
        elif filter_.kind == "decontaminate" and not has_suites:
            yield Finding(
                "SPC217",
                "`decontaminate` has nothing to compare with: the spec has no suite",
                (At((*at, index)),),
                help="add the suites that the model will be scored on, or leave the filter out",
                severity="warning",
            )
