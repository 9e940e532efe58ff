"""Tokens that the reader assembles in a second of one core, beside plain copies of as many tokens in the same run.

python -m benchmarks.reader [--tokens 64000000] [--context 1024]

The floor copies rows of the same length from random places of one memory-mapped file, one after the other, into a
batch of the same type. Seconds are those of the processor, so that other programs change little.

What a step of a model takes is no part of it: a GPU trains about a million tokens a second on a model of 100 M
parameters, and the reader works beside it (`runners.prefetch`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from runners.batches import training_batches
from runners.curriculum import Curriculum, Difficulty, LinearLength, Phase
from runners.data import DataSet, Range, Split
from runners.objective import Causal, training_examples
from runners.prefetch import Prefetch
from runners.tokens import TokenWriter

KIND = np.dtype("<u2")
END = 50_256
DOCUMENT = 600
"""Mean length of a document, in tokens."""
STEPS = 40
RUNS = 5
SOURCES = ("web", "code", "books")


def data_set(folder: Path, tokens: int) -> DataSet:
    """Three sources of documents of all lengths, in several shards."""
    draw = np.random.default_rng(0)
    writer = TokenWriter(folder, "train", KIND, tokens // 3)
    ranges = {}
    with writer:
        for source in SOURCES:
            start, documents = writer.tokens, 0
            while writer.tokens - start < tokens // len(SOURCES):
                length = 1 + int(draw.exponential(DOCUMENT))
                writer.append(np.concatenate(([END], draw.integers(0, END, length))).astype(KIND))
                documents += 1
            ranges[source] = Range(start, writer.tokens - start, documents, 0)
    split = Split(folder, "train", ranges, KIND, tokens // 3)
    return DataSet("random", folder, split, split, dict.fromkeys(SOURCES), {}, END)


def speed(batch: Callable[[int], object], tokens: int) -> float:
    """Tokens per second of `batch(step)` with so many tokens, the median of some runs; the first one is not counted."""
    seconds = []
    for _ in range(RUNS + 1):
        began = time.process_time()
        for step in range(STEPS):
            batch(step)
        seconds.append(time.process_time() - began)
    return STEPS * tokens / median(seconds[1:])


def floor(path: Path, rows: int, context: int) -> Callable[[int], np.ndarray]:
    """Copies rows from random places."""
    tokens = np.asarray(np.memmap(path, KIND, "r"))
    begins = np.random.default_rng(0).integers(0, len(tokens) - context - 1, (STEPS, rows)).tolist()

    def batch(step: int) -> np.ndarray:
        found = np.empty((rows, context + 1), np.int64)
        for row, begin in enumerate(begins[step]):
            np.copyto(found[row], tokens[begin : begin + context + 1])
        return found

    return batch


def measure(folder: Path, tokens: int, context: int) -> None:
    """Print a line for each way to read."""
    data, rows = data_set(folder, tokens), max(1, 2**19 // context)
    mixed = Curriculum(mixture=(Phase(None, {"web": 0.6, "code": 0.3, "books": 0.1}),))
    short = Curriculum(sequence_length=LinearLength(64, 10 * STEPS))
    easy = Curriculum(difficulty=Difficulty("rarity", "sqrt", 0.01, 10 * STEPS))
    ways = {
        "concatenate": ("concatenate", Curriculum()),
        "mixture": ("concatenate", mixed),
        "short rows": ("concatenate", short),
        "difficulty": ("concatenate", easy),
        "best_fit": ("best_fit", Curriculum()),
    }
    size = rows * context
    print(f"{tokens:,} tokens, batches of {rows} x {context} in int64, one thread")
    lowest = speed(floor(data.train.shards[0], rows, context), size)
    print(f"{'plain copies':24}{lowest / 1e6:10.0f} M tokens/s")
    for name, (packing, curriculum) in ways.items():
        batches = training_batches(data, 7, context, rows, packing, curriculum)
        found = speed(batches.batch, size)
        print(f"{name:24}{found / 1e6:10.0f} M tokens/s{found / lowest:8.2f} of plain copies")
    batches = training_batches(data, 7, context, rows)

    def examples(step: int) -> object:
        return training_examples(Causal(), batches.batch(step), 7, batches.first_sequence(step))

    print(f"{'inputs and targets':24}{speed(examples, size) / 1e6:10.0f} M tokens/s")
    with Prefetch(examples, 10**9) as upcoming:
        print(f"{'the same in a thread':24}{speed(upcoming.take, size) / 1e6:10.0f} M tokens/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64_000_000)
    parser.add_argument("--context", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        measure(Path(home), options.tokens, options.context)
