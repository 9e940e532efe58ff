"""Objectives that ask for what the model, the tokenizer or the context does not have."""

from __future__ import annotations

import pytest

from specc import driver
from specc.kinds.objective.masked import Masked
from specc.kinds.objective.place import ENCODER, ENCODER_DECODER, Place
from specc.kinds.objective.span_corruption import SpanCorruption
from specc.kinds.objective.spans import fill_inputs, fill_sequence, sizes
from specc.kinds.tokenizer.byte import Byte
from specc.kinds.tokenizer.pretrained import Pretrained
from tests.compiling import TINY

OBJECTIVE = "stages.pretrain.objective="
SPAN = "{kind: span_corruption, rate: 0.15, mean_span: 3.0}"
PRETRAINED = "tokenizer={kind: pretrained, path: x, vocab_size: 400, end_of_document: 0"


def codes(*sets: str) -> list[str]:
    found = driver.check(TINY, sets).diagnostics
    return [diagnostic.code for diagnostic in found if diagnostic.code.startswith("SPC52")]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ((OBJECTIVE + "{kind: causal}",), []),
        ((OBJECTIVE + "{kind: prefix}",), []),
        ((OBJECTIVE + "{kind: masked}",), ["SPC520"]),
        ((OBJECTIVE + "{kind: span_corruption}",), ["SPC520"]),
        ((OBJECTIVE + "{kind: ul2}", "model.context_length=512"), []),
        ((OBJECTIVE + f"{{kind: ul2, denoisers: [{SPAN}]}}", PRETRAINED + "}"), ["SPC521"]),
        ((OBJECTIVE + f"{{kind: ul2, denoisers: [{SPAN}]}}", PRETRAINED + ", sentinel_tokens: [399, 394]}"), []),
        (
            (OBJECTIVE + f"{{kind: ul2, denoisers: [{SPAN}]}}", PRETRAINED + ", sentinel_tokens: [399, 396]}"),
            ["SPC521"],
        ),
        (
            (
                OBJECTIVE + "{kind: ul2, denoisers: [{kind: span_corruption, rate: 0.15, mean_span: 3.0, mode: R}]}",
                PRETRAINED + ", sentinel_tokens: [399, 380], mode_tokens: {S: 7}}",
            ),
            ["SPC521"],
        ),
        ((OBJECTIVE + "{kind: ul2, denoisers: [{kind: span_corruption, rate: 0.001, mean_span: 1.0}]}",), ["SPC522"]),
        ((OBJECTIVE + "{kind: prefix, min_share: 0.9, max_share: 0.1}",), ["SPC523"]),
        ((OBJECTIVE + "{kind: multi_token}",), ["SPC524"]),
        (("model.prediction={depth: 2}",), ["SPC524"]),
        ((OBJECTIVE + "{kind: multi_token}", "model.prediction={depth: 2}"), []),
        ((OBJECTIVE + "{kind: prefix}", "model.attention.window=8"), ["SPC525"]),
        ((OBJECTIVE + "{kind: prefix}", "model.position={kind: alibi}"), ["SPC525"]),
        ((OBJECTIVE + "{kind: ul2, denoisers: [{kind: prefix, rate: 0.5}]}",), ["SPC526"]),
        ((OBJECTIVE + "{kind: ul2, denoisers: [{kind: span_corruption, rate: 0.15, mean_span: 99.0}]}",), ["SPC527"]),
    ],
)
def test_what_does_not_fit_is_said_once(sets: tuple[str, ...], expected: list[str]) -> None:
    assert codes(*sets) == expected


def test_flash_cannot_show_a_prefix() -> None:
    found = driver.check(
        TINY, (OBJECTIVE + "{kind: prefix}", "model.attention.kernel=flash", "stages.pretrain.precision=bf16")
    ).diagnostics
    assert "kernel `flash` cannot show a prefix as a whole" in [diagnostic.headline for diagnostic in found]


@pytest.mark.parametrize(
    ("masked", "expected"),
    [
        (Masked(), []),
        (Masked(rate=0.3, mask_share=1.0, random_share=0.0), []),
        (Masked(mask_share=0.8, random_share=0.3), ["SPC523"]),
        (Masked(rate=0.001), ["SPC522"]),
    ],
)
def test_a_masked_model_checks_its_shares(masked: Masked, expected: list[str]) -> None:
    assert [finding.code for finding in masked.check(("x",), Place(ENCODER, 128))] == expected


@pytest.mark.parametrize(
    ("inputs", "rate", "mean", "tokens", "targets"),
    [
        # 512 and 114 of 568 tokens are the lengths of T5's own training (compute_input_and_target_lengths of its code,
        # quoted in transformers' run_t5_mlm_flax.py); the others are the sums of that function by hand.
        (512, 0.15, 3.0, 568, 114),
        (256, 0.15, 3.0, 284, 58),
        (1024, 0.15, 3.0, 1137, 229),
    ],
)
def test_lengths_are_those_of_t5(inputs: int, rate: float, mean: float, tokens: int, targets: int) -> None:
    made = fill_inputs(inputs - 1, rate, mean)
    assert made.tokens == tokens
    assert made.asked + 1 == targets
    assert made.shown + 1 <= inputs < sizes(tokens + 1, rate, mean).shown + 1
    assert SpanCorruption(rate=rate, mean_span=mean).data_tokens(inputs) == tokens


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.5, 0.9])
@pytest.mark.parametrize("mean", [1.0, 3.0, 64.0])
@pytest.mark.parametrize("places", [8, 64, 513])
def test_no_more_tokens_would_fit(rate: float, mean: float, places: int) -> None:
    made = fill_inputs(places, rate, mean)
    more = sizes(made.tokens + 1, rate, mean)
    assert made.shown <= places < more.shown
    both = fill_sequence(places, rate, mean)
    more = sizes(both.tokens + 1, rate, mean)
    assert both.shown + both.asked <= places < more.shown + more.asked
    assert both.tokens + 2 * both.spans == both.shown + both.asked


def test_the_byte_tokenizer_has_as_many_special_tokens_as_are_needed() -> None:
    plain, place = Byte().lower(), Place(ENCODER_DECODER, 512)
    assert (plain.vocab_size, plain.special.mask, plain.special.num_sentinels) == (257, None, 0)
    needs = Masked().needs(place) | SpanCorruption().needs(place)
    made = Byte().lower(needs)
    assert (made.special.mask, made.special.first_sentinel, made.special.num_sentinels) == (257, 258, 28)
    assert made.vocab_size == 257 + 1 + 28
    assert Pretrained(path="x", vocab_size=10, end_of_document=0).lacks(needs)[0][0] == "mask_token"
