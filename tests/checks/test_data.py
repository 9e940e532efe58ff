"""Mixtures, pre-tokenised shards and filters that contradict themselves or the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from specc.kinds.filter.language import CODES
from tests.checks.checking import found, said


def sources(*weights: object, more: str = "") -> str:
    listed = "".join(f"      s{index}: {{path: '{index}/*.txt', weight: {w}}}\n" for index, w in enumerate(weights))
    return f"data:\n  text: {{holdout: 1%}}\n  mix:\n    sources:\n{listed}{more}"


@pytest.mark.parametrize(
    "weights",
    [(1.0,), (0.1,) * 10, (0.62, 0.15, 0.13, 0.1), (0.7, 0.2, 0.1), (0.3333333333, 0.3333333333, 0.3333333334)],
)
def test_shares_that_add_up_to_one_but_for_rounding_are_shares(weights: tuple[float, ...], tmp_path: Path) -> None:
    assert said(tmp_path, sources(*weights)) == []


@pytest.mark.parametrize(
    ("weights", "total", "by_hand"),
    [
        ((0.62, 0.25, 0.1), "0.97", "`weight: 0.65` for `s0`"),
        ((0.5, 0.5, 0.1), "1.1", "`weight: 0.4` for `s0`"),
        ((0.7,), "0.7", "`weight: 1` for `s0`"),
        ((3.0, 1.0), "4", None),
        ((0.999, 0.0011), "1.0001", "`weight: 0.9989` for `s0`"),
    ],
)
def test_other_sums_are_named_with_two_ways_out_that_both_work(
    weights: tuple[float, ...], total: str, by_hand: str | None, tmp_path: Path
) -> None:
    (one,) = found(tmp_path, sources(*weights))
    assert (one.code, one.headline) == ("SPC202", f"source weights add up to {total}, not 1")
    assert len(one.labels) == len(weights)
    assert said(tmp_path, sources(*weights, more="    normalize_weights: true\n")) == []
    assert one.help is not None
    assert (by_hand in one.help) if by_hand else ("or write" not in one.help)
    if by_hand:
        first = float(by_hand.split("`")[1].removeprefix("weight: "))
        assert said(tmp_path, sources(first, *weights[1:])) == []


def test_weights_of_some_sources_only_stay_a_mistake_when_they_are_normalised(tmp_path: Path) -> None:
    text = sources(0.5, more="      s9: {path: x}\n    normalize_weights: true\n")
    assert said(tmp_path, text) == [("SPC202", "source `s9` has no weight, and `s0` has one")]


def shards(**keys: object) -> str:
    listed = ", ".join(f"{key}: {value}" for key, value in {"path": "x/*.bin", "dtype": "uint16", **keys}.items())
    return f"data: {{text: {{sources: {{files: {{kind: shards, {listed}}}}}}}}}\n"


def pretrained(ids: int) -> str:
    return f"tokenizer: {{kind: pretrained, path: some/tokenizer, vocab_size: {ids}, end_of_document: 0}}\n"


@pytest.mark.parametrize(
    ("ids", "dtype", "codes"),
    [(65536, "uint16", []), (65537, "uint16", ["SPC205"]), (65537, "uint32", []), (128256, "uint16", ["SPC205"])],
)
def test_the_largest_id_decides_what_the_shards_can_hold(
    ids: int, dtype: str, codes: list[str], tmp_path: Path
) -> None:
    text = pretrained(ids) + shards(dtype=dtype, tokenizer="some/tokenizer")
    assert [code for code, _ in said(tmp_path, text)] == codes


def test_ids_of_another_tokenizer_are_one_mistake(tmp_path: Path) -> None:
    text = pretrained(128256) + shards(tokenizer="openai-community/gpt2")
    headline = "the shards were written with `openai-community/gpt2`, and the experiment uses `some/tokenizer`"
    assert said(tmp_path, text) == [("SPC206", headline)]


@pytest.mark.parametrize(("rows", "codes"), [(128, ["SPC208"]), (129, []), (4097, [])])
def test_a_row_holds_one_token_more_than_the_context(rows: int, codes: list[str], tmp_path: Path) -> None:
    assert [code for code, _ in said(tmp_path, shards(tokenizer="byte", sequence_length=rows))] == codes


def test_a_preset_of_files_gives_way_to_another_kind(tmp_path: Path) -> None:
    assert said(tmp_path, "data: {text: {sources: {files: {kind: huggingface, dataset: a/b}}}}\n") == []


def test_a_source_without_a_kind_is_of_files(tmp_path: Path) -> None:
    assert said(tmp_path, "data: {more: {sources: {a: {path: x}, b: {kind: files, path: y}}}}\n") == []
    wrong = "data: {more: {sources: {a: {pth: x}}}}\n"
    assert said(tmp_path, wrong) == [("SPC003", "`data.more.sources.a` has no key `pth`")]


def test_two_sources_of_the_same_files_are_seen(tmp_path: Path) -> None:
    text = "data: {text: {sources: {more: {path: ['a/*', 'text/*.txt']}}}}\n"
    assert said(tmp_path, text) == [("SPC214", "sources `files` and `more` both read `text/*.txt`")]
    splits = "{{kind: huggingface, dataset: a/b, split: {}}}"
    text = f"data: {{more: {{sources: {{a: {splits.format('train')}, b: {splits.format('test')}}}}}}}\n"
    assert said(tmp_path, text) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("{kind: gopher_quality, min_words: 9, max_words: 8}", ["SPC215"]),
        ("{kind: gopher_quality, min_words: 8, max_words: 8}", []),
        ("{kind: language, keep: [en, eng, zz]}", ["SPC216", "SPC216"]),
        ("{kind: minhash_dedup}, {kind: gopher_quality}, {kind: minhash_dedup}", ["SPC217"]),
        ("{kind: minhash_dedup}, {kind: minhash_dedup, ngram: 13}", []),
        ("{kind: decontaminate}", ["SPC217"]),
    ],
)
def test_filters_that_keep_nothing_or_drop_nothing_are_seen(filters: str, expected: list[str], tmp_path: Path) -> None:
    assert [code for code, _ in said(tmp_path, f"data: {{text: {{filters: [{filters}]}}}}\n")] == expected


def test_language_codes_are_two_small_letters_and_help_names_one() -> None:
    assert all(len(code) == 2 and code.islower() for code in CODES)
    assert 180 <= len(CODES) <= 186  # ISO 639-1 has 183, a few of them withdrawn or added over time


@pytest.mark.parametrize(
    ("written", "meant"), [("eng", "en"), ("EN", "en"), ("jp", "ja"), ("cn", "zh"), ("german", "de"), ("de-AT", "de")]
)
def test_a_code_of_another_list_is_understood(written: str, meant: str, tmp_path: Path) -> None:
    (one,) = found(tmp_path, f"data: {{text: {{filters: [{{kind: language, keep: [{written}]}}]}}}}\n")
    assert one.help == f"did you mean `{meant}`?"
