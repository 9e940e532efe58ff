"""Spans of noise against T5's own algorithm, written again from its description, and what must hold of every row."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runners.objective.draws import Draws
from runners.objective.noise import Sentinels, Spans, with_sentinels

FIRST = 1000


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of noise."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(int), [0]))))
    return [int(stop - start) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


@st.composite
def spans(draw: st.DrawFn) -> Spans:
    tokens = draw(st.integers(2, 200))
    noise = draw(st.integers(1, tokens - 1))
    return Spans(tokens, noise, draw(st.integers(1, min(noise, tokens - noise))))


@given(spans(), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_noise_has_exactly_the_tokens_and_spans_that_were_asked_for(given_: Spans, index: int) -> None:
    mask = given_.mask(Draws(7, "objective", index))
    assert mask.shape == (given_.tokens,)
    assert mask.sum() == given_.noise_tokens
    assert len(runs(mask)) == given_.spans
    assert not mask[0]
    assert mask[-1]


def restored(shown: np.ndarray, asked: np.ndarray) -> list[int]:
    """The text again: each sentinel of the inputs replaced by what follows it in the targets."""
    spans_: dict[int, list[int]] = {}
    for token in asked.tolist():
        if token >= FIRST:
            spans_[token] = []
            last = spans_[token]
        else:
            last.append(token)
    return [piece for token in shown.tolist() for piece in (spans_[token] if token >= FIRST else [token])]


@given(spans(), st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_the_text_is_recovered_from_inputs_and_targets(given_: Spans, index: int) -> None:
    draw = Draws(3, "objective", index)
    text = (draw.uniform(given_.tokens) * 256).astype(np.int64)
    mask = given_.mask(draw)
    shown, asked = with_sentinels(text, mask, Sentinels(FIRST)), with_sentinels(text, ~mask, Sentinels(FIRST))
    assert len(shown) == given_.tokens - given_.noise_tokens + given_.spans
    assert len(asked) == given_.noise_tokens + given_.spans
    assert restored(shown, asked) == text.tolist()
    assert [token for token in shown if token >= FIRST] == [FIRST + i for i in range(given_.spans)]


def test_the_example_of_the_paper() -> None:
    """Raffel et al. 2020, figure 2: "Thank you for inviting me to your party last week"."""
    words = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    hidden = np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 0], dtype=bool)
    assert with_sentinels(words, hidden, Sentinels(32099, -1)).tolist() == [1, 2, 32099, 5, 6, 7, 8, 32098, 10]


def t5_mask(length: int, noise: int, count: int, random: np.random.Generator) -> np.ndarray:
    """`random_spans_noise_mask` of T5: marks shuffled among places, their running sum is the number of the piece."""

    def pieces(items: int) -> np.ndarray:
        first = np.arange(items - 1) < count - 1
        random.shuffle(first)
        number = np.cumsum(np.pad(first, (1, 0)))
        return np.bincount(number, minlength=count)

    kept, lost = pieces(length - noise), pieces(noise)
    starts = np.cumsum(np.stack((kept, lost), axis=1).reshape(-1))[:-1]
    marks = np.zeros(length, dtype=int)
    marks[starts] = 1
    return np.cumsum(marks) % 2 == 1


def test_spans_have_the_lengths_and_places_of_t5s_algorithm() -> None:
    random, rows = np.random.default_rng(0), 4000
    ours = np.stack([Spans(80, 12, 4).mask(Draws(1, "objective", index)) for index in range(rows)])
    theirs = np.stack([t5_mask(80, 12, 4, random) for _ in range(rows)])
    lengths, expected = (
        np.bincount([n for mask in masks for n in runs(mask)], minlength=10) for masks in (ours, theirs)
    )
    assert lengths[:10] / (4 * rows) == pytest.approx(expected[:10] / (4 * rows), abs=0.015)
    assert ours.mean(axis=0) == pytest.approx(theirs.mean(axis=0), abs=0.045)


def test_draws_are_the_same_in_another_process() -> None:
    code = "from runners.objective.draws import Draws; d = Draws(7, 'objective', 123456789012); "
    code += "print(d.uniform(3).tolist(), d.between(2, 9), d.choose(50, 7).tolist())"
    said = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    draw = Draws(7, "objective", 123456789012)
    here = f"{draw.uniform(3).tolist()} {draw.between(2, 9)} {draw.choose(50, 7).tolist()}"
    assert [done.stdout.strip() for done in said] == [here, here]


def test_draws_differ_by_seed_purpose_and_index_and_are_even() -> None:
    seen = {Draws(*key).uniform(1)[0] for key in ((1, "a", 0), (2, "a", 0), (1, "b", 0), (1, "a", 1))}
    assert len(seen) == 4
    numbers = np.concatenate([Draws(1, "a", index).uniform(100) for index in range(200)])
    assert numbers.mean() == pytest.approx(0.5, abs=0.01)
    assert numbers.var() == pytest.approx(1 / 12, abs=0.002)
    assert {Draws(1, "c", index).between(3, 6) for index in range(100)} == {3, 4, 5, 6}
