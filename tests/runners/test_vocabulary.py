"""A vocabulary that grows; the judge is the tokenizers library with the merges that are not in use taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from runners.errors import RunError
from runners.vocabulary import read_merges

TEXT = "the cat sat on the mat, and the other cat sat on another mat; ünïcode 日本 aaaaaaaaaa banana bandana " * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level encoding of some dozens of merges and a special token."""
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    found.train_from_iterator([TEXT, "cats and hats and mats and bats"], trainer)
    home = tmp_path_factory.mktemp("tokenizer")
    found.save(str(home / "tokenizer.json"))
    return home


def with_first(folder: Path, count: int) -> tokenizers.Tokenizer:
    content: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = content["model"]["merges"][:count]
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def test_ids_in_parts_are_those_of_an_encoding_with_fewer_merges(folder: Path) -> None:
    merges = read_merges(folder)
    assert len(merges.made) > 40
    whole = np.array([with_first(folder, len(merges.made)).encode(TEXT).ids])
    for count in (0, 1, 7, 20, len(merges.made) - 1, len(merges.made)):
        expected = with_first(folder, count).encode(TEXT).ids
        assert merges.first(count, whole)[0].tolist() == expected[: whole.shape[1]]


def test_what_is_not_asked_for_is_not_asked_for_in_parts(folder: Path) -> None:
    merges = read_merges(folder)
    library = with_first(folder, len(merges.made))
    (cat,) = library.encode(" cat").ids
    parts = with_first(folder, 0).encode(" cat").ids
    assert len(parts) == 4
    row = np.array([[0, ~cat, cat, *[~0] * 9]])
    assert merges.first(0, row)[0].tolist() == [0, *(~part for part in parts), *parts, *[~0] * 3]


def test_a_tokenizer_without_merges_is_refused(tmp_path: Path) -> None:
    found = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    found.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(RunError, match="is of type WordLevel"):
        read_merges(tmp_path)
