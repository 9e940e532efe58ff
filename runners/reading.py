"""What a process reads of each step, made while the step before it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from runners.batches import Batches, training_batches
from runners.data import DataSet
from runners.objective import Examples, training_examples
from runners.prefetch import Prefetch
from runners.ranks import Ranks
from runners.recipe import Pretraining
from runners.tokenizer import PretrainedTokenizer, Tokenizer
from runners.vocabulary import read_merges


def ordered(settings: Pretraining, data: DataSet, text: Tokenizer, ranks: Ranks) -> Batches:
    """The order of the sequences. What it needs beside the tokens is made by the first process, and found by others."""
    grows = settings.curriculum.vocabulary is not None
    merges = read_merges(text.folder) if grows and isinstance(text, PretrainedTokenizer) else None

    def order() -> Batches:
        return training_batches(
            data,
            settings.seed,
            settings.objective.window(settings.context_length),
            settings.global_batch_size,
            settings.packing,
            settings.curriculum,
            settings.batches.first,
            merges=merges,
        )

    if ranks.is_first:
        order()
    ranks.wait()
    return order()


def upcoming(settings: Pretraining, batches: Batches, ranks: Ranks, device: torch.device) -> Prefetch[Examples]:
    """The rows of this process, by the step and how many batches were left out before it.

    Their count is that of the process's own targets.
    """
    return Prefetch(_reader(settings, batches, ranks, pinned=device.type == "cuda"), settings.steps)


def _reader(settings: Pretraining, batches: Batches, ranks: Ranks, *, pinned: bool) -> Callable[[int, int], Examples]:
    def examples(step: int, left_out: int) -> Examples:
        # Batches never shrink: one that comes later has at least as many rows.
        number, (start, stop) = step + left_out, ranks.rows(settings.batches.size(step))
        before = batches.first_sequence(number)
        rows, parts = batches.batch(number, start, stop), batches.rows_per_sequence(number)
        found = training_examples(settings.objective, rows, settings.seed, before + start, parts)
        if batches.merges is not None and found.targets.ndim == rows.ndim:
            found = replace(found, bytes=batches.merges.bytes_of(found.targets.numpy()))
        return found.pinned() if pinned else found

    return examples
