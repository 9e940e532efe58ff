"""What a spec says of a tokenizer that came with a model."""

from __future__ import annotations

from typing import Any

import pytest

from specc.importing.tokenizer import read_encoding

VOCAB = {"<bos>": 0, "<eos>": 1, "None": 2}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
BEGIN = {"SpecialToken": {"id": "<bos>", "type_id": 0}}


@pytest.mark.parametrize(
    ("single", "settings", "config", "expected"),
    [
        ([BEGIN, TEXT], {"eos_token": "<eos>"}, {}, 0),  # Llama: what the tokenizer puts there
        ([TEXT], {"eos_token": "<eos>"}, {}, 1),  # nothing put there, and a token called `None` is no answer
        ([TEXT], {"bos_token": {"content": "<bos>"}}, {}, 0),
        ([TEXT], {}, {"eos_token_id": [1, 2]}, 1),
    ],
)
def test_the_token_before_a_document_is_that_of_the_tokenizer(
    single: list[Any], settings: dict[str, Any], config: dict[str, Any], expected: int
) -> None:
    tokenizer = {"model": {"vocab": VOCAB}, "post_processor": {"type": "TemplateProcessing", "single": single}}
    assert read_encoding(config, tokenizer, "{}", settings).end_of_document == expected


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"<extra_id_0>": 9, "<extra_id_1>": 8, "<extra_id_2>": 7}, (9, 7)),  # T5 counts down
        ({"<extra_id_0>": 3, "<extra_id_1>": 4}, (3, 4)),
        ({"<extra_id_0>": 3, "<extra_id_1>": 5}, None),  # others lie between them
        ({}, None),
    ],
)
def test_the_mask_and_sentinels_in_a_row_are_found(ids: dict[str, int], expected: tuple[int, int] | None) -> None:
    read = read_encoding({}, {"model": {"vocab": {**VOCAB, "[MASK]": 6, **ids}}}, "{}", {"mask_token": "[MASK]"})
    assert (read.mask, read.sentinels) == (6, expected)
