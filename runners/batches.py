"""Which tokens a step sees: a pure function of (seed, step), with no state to save.

A source's tokens make rows of a fixed length; an epoch visits each row once, in a pseudo-random order computed per
position by a small cipher. So any process can compute any row of any step, and resuming needs a number.

`concatenate` cuts rows without regard to documents: a row can hold the end of one and the beginning of the next, with
the end-of-document token between them. `best_fit` keeps documents whole where they fit (`runners.packing`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import mul

import numpy as np
import torch
from torch import Tensor

from runners.curriculum import NOTHING, Curriculum, Phase, row_length
from runners.data import DataSet
from runners.difficulty import Rows, order
from runners.errors import RunError
from runners.mixture import Mixture, mixture
from runners.packing import packed
from runners.permutation import key_of, permute, uniform
from runners.vocabulary import Merges
from runners.windows import windows_of

PACKINGS: dict[str, Callable[[DataSet, str | None, int], Rows]] = {"concatenate": windows_of, "best_fit": packed}
FILLED_UP = ~0
"""Stands where a row is longer than what is left for it: read as id 0, and not asked for."""


@dataclass(frozen=True)
class Stream:
    """Rows that are sampled as one."""

    name: str
    rows: Rows
    easiest_first: np.ndarray | None = None
    """Numbers of the rows, where they are taken in an order of difficulty."""


@dataclass(frozen=True)
class Batches:
    """The order of all training sequences."""

    streams: tuple[Stream, ...]
    mixture: Mixture
    seed: int
    context_length: int
    first_sequence: Callable[[int], int]
    """How many sequences come before a step."""
    curriculum: Curriculum = NOTHING
    merges: Merges | None = None
    """Of the tokenizer, where not all of them are in use from the first step."""

    def rows_per_sequence(self, step: int) -> int:
        """How many rows each sequence of a step is cut into."""
        return self.curriculum.parts(step, self.context_length)

    def batch(self, step: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Sequences start..stop of the batch of `step`, int64 [sequences * rows_per_sequence(step), length + 1].

        A number below zero is `~id`: a token that is read and not asked for.
        """
        first = self.first_sequence(step)
        stop = self.first_sequence(step + 1) - first if stop is None else stop
        indices = np.arange(first + start, first + stop)
        sources, positions = self.mixture.places(indices)
        sequences = np.empty((len(indices), self.context_length + 1), np.int64)
        for source in np.unique(sources).tolist():
            chosen = sources == source
            found = self._rows(self.streams[source], step, indices[chosen], positions[chosen])
            if len(found) == len(sequences):
                sequences = found
            else:
                sequences[chosen] = found
        return torch.from_numpy(_shortened(self._written(sequences, step), self.rows_per_sequence(step)))

    def epochs(self, step: int) -> dict[str, float]:
        """Passes over each stream that are done after so many steps; under "" that over all of them together."""
        given = self.mixture.given(self.first_sequence(step))
        sizes = [len(stream.rows) for stream in self.streams]
        by_name = {stream.name: count / size for stream, count, size in zip(self.streams, given, sizes, strict=True)}
        return {"": sum(given) / sum(sizes)} | (by_name if len(by_name) > 1 else {})

    def _written(self, sequences: np.ndarray, step: int) -> np.ndarray:
        """In the vocabulary of a step; what is then too long is cut."""
        vocabulary = self.curriculum.vocabulary
        count = None if vocabulary is None else vocabulary.merges(step)
        if count is None:
            return sequences
        assert self.merges is not None, "a vocabulary that grows has merges"
        return self.merges.first(count, sequences)

    def _rows(self, stream: Stream, step: int, indices: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return stream.rows.rows(self._numbers(stream, step, indices, positions))

    def _numbers(self, stream: Stream, step: int, indices: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Rows of a stream, by the number of their sequence and by how many the stream gave before."""
        difficulty = self.curriculum.difficulty
        if difficulty is not None and stream.easiest_first is not None and step < difficulty.steps:
            among = max(1, int(difficulty.competence(step) * len(stream.rows)))
            drawn = uniform(indices, key_of(self.seed, f"difficulty of {stream.name}", 0))
            return np.asarray(stream.easiest_first[(drawn * among).astype(np.int64)])
        epochs, within = np.divmod(positions, len(stream.rows))
        numbers = np.empty_like(within)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            numbers[chosen] = permute(within[chosen], len(stream.rows), key_of(self.seed, stream.name, epoch))
        return numbers


def training_batches(
    data: DataSet,
    seed: int,
    context_length: int,
    global_batch_size: int,
    packing: str = "concatenate",
    curriculum: Curriculum = NOTHING,
    first_sequence: Callable[[int], int] | None = None,
    merges: Merges | None = None,
) -> Batches:
    """Batches over the training split, its sources mixed by weight, or all as one where none has a weight.

    `first_sequence` says how many sequences come before a step, where that is not a multiple of the batch size.
    """
    if packing not in PACKINGS:
        raise RunError(f"this version packs by {' or '.join(PACKINGS)}, and the plan says `{packing}`")
    if curriculum.vocabulary is not None and merges is None:
        raise RunError("a vocabulary grows by merges, and the tokenizer has none")
    first_sequence = first_sequence or partial(mul, global_batch_size)
    weights = _weights(data, curriculum.mixture)
    streams = tuple(_stream(data, name, context_length, packing, curriculum) for name in weights[0][1])
    ends = [(None if until is None else first_sequence(until), by_source) for until, by_source in weights]
    return Batches(streams, mixture(seed, ends), seed, context_length, first_sequence, curriculum, merges)


def validation_windows(data: DataSet, context_length: int, count: int) -> Tensor:
    """Up to `count` windows at fixed places spread over the held-out tokens, int64 [count, context_length + 1]."""
    tokens = data.validation.open()
    windows = (len(tokens) - 1) // context_length
    if windows < 1:
        raise RunError(f"data set `{data.name}` holds out {len(tokens):,} tokens, fewer than one sequence")
    chosen = np.unique(np.linspace(0, windows - 1, min(count, windows)).astype(np.int64))
    return torch.from_numpy(tokens.rows(chosen * context_length, context_length + 1))


def _shortened(sequences: np.ndarray, parts: int) -> np.ndarray:
    """Each sequence as `parts` rows one below the other, each of which begins with the last target of the one before.

    int64 [n, T + 1] to [n * parts, length + 1].
    """
    whole = sequences.shape[1] - 1
    length = row_length(whole, parts)
    if parts == 1:
        return sequences
    filled = np.full((len(sequences), parts * length + 1), FILLED_UP)
    filled[:, : whole + 1] = sequences
    cut = np.lib.stride_tricks.sliding_window_view(filled, length + 1, axis=1)[:, ::length]
    return np.array(cut).reshape(len(sequences) * parts, length + 1)


def _weights(data: DataSet, phases: tuple[Phase, ...]) -> list[tuple[int | None, dict[str | None, float]]]:
    """Weight of each stream, by phase; of the one stream None where no source has a weight."""
    if phases:
        return _weights_by_phase(data, phases)
    weights = data.weights
    given = [source for source, weight in weights.items() if weight is not None]
    if not given or len(weights) == 1:
        return [(None, {None: 1.0})]
    missing = [source for source in weights if source not in given]
    if missing:
        raise RunError(f"source `{missing[0]}` has no weight, and `{given[0]}` has one: give all a weight, or none")
    return [(None, {source: weight for source, weight in weights.items() if weight})]


def _weights_by_phase(data: DataSet, phases: tuple[Phase, ...]) -> list[tuple[int | None, dict[str | None, float]]]:
    unknown = [source for phase in phases for source in phase.weights if source not in data.weights]
    if unknown:
        raise RunError(f"a phase of the mixture names the source `{unknown[0]}`, which `{data.name}` does not have")
    used = [source for source in data.weights if any(phase.weights.get(source) for phase in phases)]
    found: list[tuple[int | None, dict[str | None, float]]] = [
        (phase.until, {source: phase.weights.get(source, 0.0) for source in used}) for phase in phases
    ]
    if not all(any(weights.values()) for _, weights in found) or found[-1][0] is not None:
        raise RunError("each phase of a mixture takes something from a source, and the last one has no end")
    return found


def _stream(data: DataSet, source: str | None, context_length: int, packing: str, curriculum: Curriculum) -> Stream:
    name = "+".join(data.train.ranges) if source is None else source
    rows = PACKINGS[packing](data, source, context_length)
    if curriculum.difficulty is None:
        return Stream(name, rows)
    return Stream(name, rows, order(data, rows, source or "all sources", curriculum.difficulty.score))
