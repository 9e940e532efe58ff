import math

import numpy as np
import pytest

from runners import baseline
from runners.baseline import START, Trigram, bits_per_byte, fit

TEXTS = [b"abracadabra", b"", b"abba", bytes(range(256)), b"the cat sat on the mat" * 20]


def tokens(documents: list[bytes]) -> np.ndarray:
    return np.concatenate([np.array([START, *document], dtype="<u2") for document in documents])


def test_probabilities_of_the_next_byte_sum_to_one_after_every_history() -> None:
    model = fit(tokens(TEXTS))
    assert np.allclose(model.probability.sum(axis=-1), 1.0, atol=1e-12)
    assert (model.probability > 0).all()


def test_the_smoothing_is_witten_and_bells_by_hand() -> None:
    model = fit(tokens([b"ab", b"ac", b"ab"]))
    unigram_b = (2 + 3 / 256) / (6 + 3)
    after_a = (2 + 2 * unigram_b) / (3 + 2)
    expected = (2 + 2 * after_a) / (3 + 2)
    assert model.probability[START, ord("a"), ord("b")] == pytest.approx(expected, rel=1e-12)
    assert model.probability[7, 8, ord("b")] == pytest.approx(unigram_b, rel=1e-12)


def test_no_history_reaches_over_the_start_of_a_document() -> None:
    one, other = fit(tokens([b"xy", b"ab"])), fit(tokens([b"ab", b"xy"]))
    assert np.array_equal(one.probability, other.probability)


def test_counting_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit(tokens(TEXTS)).probability
    monkeypatch.setattr(baseline, "CHUNK", 100)
    assert np.array_equal(fit(tokens(TEXTS)).probability, whole)


def test_the_trigram_beats_the_unigram_and_uniform_bytes_cost_eight_bits() -> None:
    text = b"the cat sat on the mat and the dog lay on the rug " * 30
    model = fit(tokens([text]))
    counts = np.bincount(np.frombuffer(text, np.uint8), minlength=256)
    share = counts[counts > 0] / counts.sum()
    unigram = -(share * np.log2(share)).sum()
    assert bits_per_byte(model, [text]) < unigram / 2
    uniform = Trigram(np.full((257, 257, 256), 1 / 256))
    assert bits_per_byte(uniform, [b"any", b"", b"text"]) == pytest.approx(8.0)
    assert math.isnan(bits_per_byte(uniform, []))
