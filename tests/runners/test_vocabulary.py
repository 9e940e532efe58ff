"""A vocabulary that grows; the judge is the tokenizers library with the merges that are not in use taken out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, trainers

from runners.batches import training_batches
from runners.curriculum import Curriculum, GrowingVocabulary
from runners.errors import RunError
from runners.pretrain import Pretraining
from runners.ranks import ALONE
from runners.reading import ordered, upcoming
from runners.tokenizer import ByteTokenizer, PretrainedTokenizer
from runners.vocabulary import read_merges
from tests.runners.test_curriculum import data_of

TEXT = "the cat sat on the mat, and the other cat sat on another mat; ünïcode aaaaaaaaaa banana bandana " * 20


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


def test_bytes_are_those_of_the_text(folder: Path) -> None:
    merges = read_merges(folder)
    library = with_first(folder, len(merges.made))
    ids = np.array(library.encode(TEXT).ids)
    assert merges.bytes_of(ids) == len(TEXT.encode())
    assert merges.bytes_of(np.array([0, -100])) == 0, "what ends a document is no text, and what is ignored is nothing"
    assert merges.bytes_of(merges.first(0, np.pad(ids, (0, len(ids) * 5))[None])[0]) == len(TEXT.encode())


def test_batches_are_written_in_the_vocabulary_of_their_step(folder: Path, tmp_path: Path) -> None:
    merges = read_merges(folder)
    library = with_first(folder, len(merges.made))
    data = data_of(np.array(library.encode(TEXT).ids), tmp_path)
    grows = Curriculum(vocabulary=GrowingVocabulary(((2, 0), (4, 20))))
    plain = training_batches(data, 7, 16, 4)
    batches = training_batches(data, 7, 16, 4, curriculum=grows, merges=merges)
    for step, count in ((0, 0), (1, 0), (2, 20), (3, 20), (4, len(merges.made))):
        judge = with_first(folder, count)
        for whole, found in zip(plain.batch(step).tolist(), batches.batch(step).tolist(), strict=True):
            assert library.decode(whole).startswith(library.decode(found).rstrip("\ufffd"))
            if "\ufffd" not in library.decode(whole):
                split = [part for token in whole for part in pieces(judge, library.id_to_token(token))]
                assert found == split[:17]
    with pytest.raises(RunError, match="the tokenizer has none"):
        training_batches(data, 7, 16, 4, curriculum=grows)


def pieces(judge: tokenizers.Tokenizer, token: str) -> list[int]:
    """Ids of one token's own characters, by its model alone."""
    return [piece.id for piece in judge.model.tokenize(token)]


def test_what_a_process_reads_says_how_many_bytes_its_targets_are(folder: Path, tmp_path: Path) -> None:
    text = PretrainedTokenizer(folder, 0, 340)
    data = data_of(np.array(text.encode(TEXT)), tmp_path)
    settings = Pretraining(
        stage="pretrain", engine="torch", engine_config=None, seed=7, data="set", context_length=16, steps=9,
        global_batch_size=4, micro_batch_size=4, gradient_accumulation_steps=1, activation_checkpointing="none",
        precision="fp32", max_grad_norm=None, log_every=1, validate_every=1, validation_batches=1, checkpoint_every=1,
        keep_checkpoints=1, sample_prompt=None, sample_tokens=1,
        curriculum=Curriculum(vocabulary=GrowingVocabulary(((2, 0),))),
    )  # fmt: skip
    batches = ordered(settings, data, text, ALONE)
    with upcoming(settings, batches, ALONE, torch.device("cpu")) as reads:
        assert [reads.take(step, 0).count for step in range(3)] == [64, 64, 64]
        assert reads.take(1, 0).bytes == 64, "one id a byte"
        whole = reads.take(2, 0)
        assert whole.bytes == sum(len(text.library.decode([token]).encode()) for token in whole.targets.flatten())
    with pytest.raises(RunError, match="the tokenizer has none"):
        ordered(settings, data, ByteTokenizer(256), ALONE)
