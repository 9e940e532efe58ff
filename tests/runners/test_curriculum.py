from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from runners.batches import training_batches
from runners.curriculum import Curriculum, Difficulty, LinearLength, SteppedLength
from runners.data import DataSet, Range, Split
from runners.objective import Causal
from runners.objective.examples import IGNORE, next_token, training_examples


def data_of(tokens: np.ndarray, folder: Path) -> DataSet:
    tokens.astype("<u2").tofile(folder / "train-00000.bin")
    np.zeros(1, "<i8").tofile(folder / "train-documents.bin")
    split = Split(folder, "train", {"a": Range(0, len(tokens), 1, len(tokens))})
    return DataSet("set", folder, split, split, {"a": None}, {}, 0)


def lengths(curriculum: Curriculum, steps: range, folder: Path, whole: int = 100) -> list[tuple[int, int]]:
    """Rows of one sequence, and tokens of each row."""
    batches = training_batches(data_of(np.arange(whole * 9), folder), 7, whole, 1, curriculum=curriculum)
    return [(len(found), found.shape[1] - 1) for found in map(batches.batch, steps)]


def test_sequences_grow_on_a_line_in_parts_of_a_window_and_multiples_of_eight(tmp_path: Path) -> None:
    curriculum = Curriculum(LinearLength(start=16, steps=10))
    # 16 + 84 * step / 10, rounded down to eights, is at most 16 24 32 40 48 56 64 72 80 88: as many equal parts.
    asked = [(16 + 84 * step // 10) // 8 * 8 for step in range(10)]
    parts = [math.ceil(100 / most) for most in asked]
    found = lengths(curriculum, range(12), tmp_path)
    assert found == [(n, math.ceil(math.ceil(100 / n) / 8) * 8) for n in parts] + [(1, 100)] * 2
    assert all(length <= most for (_, length), most in zip(found, asked, strict=False))
    assert [length for _, length in found] == sorted(length for _, length in found)


def test_fixed_lengths_follow_one_another(tmp_path: Path) -> None:
    curriculum = Curriculum(SteppedLength(((2, 32), (4, 64))))
    assert lengths(curriculum, range(6), tmp_path) == [(4, 32)] * 2 + [(2, 56)] * 2 + [(1, 100)] * 2


@pytest.mark.parametrize("whole", [64, 100, 101])
def test_short_rows_have_every_token_of_the_whole_ones_once(tmp_path: Path, whole: int) -> None:
    data = data_of(np.arange(whole * 20 + 1), tmp_path)
    curriculum = Curriculum(SteppedLength(((1, 24), (2, 40))))
    plain, short = (training_batches(data, 7, whole, 6, curriculum=each) for each in (Curriculum(), curriculum))
    for step in range(2):
        expected, found = next_token(plain.batch(step)), next_token(short.batch(step))
        kept = found.targets != IGNORE
        assert found.count == expected.count == 6 * whole
        assert torch.equal(found.targets[kept], expected.targets.flatten())
        assert torch.equal(found.ids[kept], expected.ids.flatten())
        assert torch.equal(
            short.batch(step, 2, 5), short.batch(step).view(6, -1, found.ids.shape[1] + 1)[2:5].flatten(0, 1)
        )


def test_a_micro_batch_keeps_its_tokens(tmp_path: Path) -> None:
    data = data_of(np.arange(64 * 20 + 1), tmp_path)
    batches = training_batches(data, 7, 64, 6, curriculum=Curriculum(SteppedLength(((1, 16),))))
    for step, rows in ((0, 4), (1, 1)):
        assert batches.rows_per_sequence(step) == rows
        examples = training_examples(Causal(), batches.batch(step), 7, 0, rows)
        assert [part.targets.numel() for part in examples.split(2)] == [128, 128, 128]


def texts(folder: Path) -> DataSet:
    """Windows of 8 tokens, more and more of which are rare ones and drawn at random."""
    draw = np.random.default_rng(0)
    parts = [np.where(draw.random(8) < share, draw.integers(1, 999, 8), 5) for share in np.linspace(0, 1, 200)]
    return data_of(np.concatenate([*parts, [5]]), folder)


@pytest.mark.parametrize("score", ["rarity", "compression"])
def test_easy_sequences_come_first_and_all_of_them_in_the_end(tmp_path: Path, score: str) -> None:
    data = texts(tmp_path)
    curriculum = Curriculum(difficulty=Difficulty(score, "sqrt", 0.05, 100))
    batches = training_batches(data, 7, 8, 20, curriculum=curriculum)
    windows = [data.train.open()[at : at + 9].astype(np.int64) for at in range(0, 1600, 8)]
    scores = np.sort([difficulty(score, window, windows) for window in windows])
    seen = {
        step: np.sort([difficulty(score, row, windows) for row in batches.batch(step).numpy()])
        for step in range(96, 110)
    }
    for step in (0, 10, 50, 99):
        among = math.sqrt(step * (1 - 0.05**2) / 100 + 0.05**2)  # Platanios et al. 2019, equation 2 with p = 2
        hardest = max(difficulty(score, row, windows) for row in batches.batch(step).numpy())
        assert hardest <= scores[int(among * 200) - 1] + 1e-9
    assert np.mean([seen[step].mean() for step in range(96, 100)]) == pytest.approx(scores.mean(), rel=0.15)
    later = np.sort(np.concatenate([seen[step] for step in range(100, 110)]))
    assert later == pytest.approx(scores), "each once an epoch afterwards"
    assert len(list(tmp_path.glob("order-*"))) == 1
    again = training_batches(data, 7, 8, 20, curriculum=curriculum)
    assert torch.equal(again.batch(50, 3, 9), batches.batch(50)[3:9])


def difficulty(score: str, window: np.ndarray, windows: list[np.ndarray]) -> float:
    if score == "compression":
        return len(zlib.compress(window.astype("<u2").tobytes(), 6)) / (2 * len(window))
    everything = np.concatenate(windows).tolist()
    return float(np.mean([-math.log(everything.count(token) / len(everything)) for token in window.tolist()]))


def test_competence_grows_by_the_line_or_the_root() -> None:
    line, root = (Difficulty("rarity", pacing, 0.01, 1000) for pacing in ("linear", "sqrt"))
    assert [line.competence(step) for step in (0, 500, 1000, 2000)] == pytest.approx([0.01, 0.505, 1.0, 1.0])
    assert [root.competence(step) for step in (0, 250, 1000)] == pytest.approx([0.01, math.sqrt(0.250075), 1.0])
