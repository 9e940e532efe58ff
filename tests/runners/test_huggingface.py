"""Checkpoints of transformers, taken apart and put together again; transformers itself is the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from runners import huggingface as program
from runners.errors import RunError
from runners.huggingface import Handover, hand_over, take_apart
from runners.moves import matched, read_moves
from runners.tensor_files import INDEX, open_file, open_folder
from runners.tokenizer import tokenizer
from specc import huggingface
from tests.huggingface.cases import CASES, Case
from tests.huggingface.small import built

BYTES = {"kind": "byte", "vocab_size": 257, "end_of_document": 256}


def job(folder: Path, **changes: Any) -> dict[str, Any]:
    """What the compiler says of a checkpoint, with the shapes of its weights left to the moves."""
    reading = huggingface.read(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    said = {"moves": huggingface.as_data(reading.moves), "ignored": list(reading.ignored)}
    return {**said, "unread": dict(reading.unread), "weights": {}, **changes}


def handover(folder: Path, weights: Path, **changes: Any) -> Handover:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    moves = read_moves(job(folder)["moves"])
    told = {"tokenizer": BYTES, "tokenizer_folder": None, "origin": folder, "context_length": 64}
    return Handover(weights=open_file(weights), config=config, moves=moves, **{**told, **changes})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    case = next(case for case in CASES if case.model_type == "llama")
    built(case).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_family_comes_back_bit_by_bit_under_its_own_names(case: Case, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    built(case).save_pretrained(theirs)
    done = take_apart(theirs, tmp_path / "ours", job(theirs))
    hand_over(handover(theirs, tmp_path / "ours" / "weights.safetensors"), tmp_path / "back")
    before, after = load_file(theirs / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert done["tensors"] == len(before)


def test_types_are_kept_and_files_of_several_shards_are_read_and_written(llama: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(llama)
    model.save_pretrained(tmp_path / "cut", max_shard_size="20KB")
    assert (tmp_path / "cut" / INDEX).is_file()
    done = take_apart(tmp_path / "cut", tmp_path / "ours", job(tmp_path / "cut"))
    assert done["types"] == ["bfloat16"]
    written = hand_over(handover(llama, tmp_path / "ours" / "weights.safetensors"), tmp_path / "back", largest=20_000)
    assert written["files"] > 2
    assert all(file.stat().st_size < 25_000 for file in (tmp_path / "back").glob("*.safetensors"))
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert again.dtype == torch.bfloat16
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in model.state_dict().items())


def test_our_files_are_files_of_the_safetensors_library(llama: Path, tmp_path: Path) -> None:
    take_apart(llama, tmp_path, job(llama))
    read = load_file(tmp_path / "weights.safetensors")
    stored = open_file(tmp_path / "weights.safetensors")
    assert read.keys() == stored.entries.keys()
    assert all(torch.equal(stored.read(name), tensor) for name, tensor in read.items())


def change(llama: Path, folder: Path, **tensors: torch.Tensor | None) -> Path:
    """The checkpoint with tensors replaced, added, or left out (None)."""
    folder.mkdir()
    (folder / "config.json").write_bytes((llama / "config.json").read_bytes())
    found = {**load_file(llama / "model.safetensors"), **tensors}
    save_file({k: v for k, v in found.items() if v is not None}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"model.norm.weight": None}, r"lacks `model.norm.weight`, which the config asks for"),
        ({"model.extra.weight": torch.ones(2)}, r"holds `model.extra.weight`, which the config has no use for"),
        ({"model.norm.weight": torch.ones(5)}, r"`norm.weight` is of shape \[5\], and the model needs \[32\]"),
    ],
)
def test_what_is_missing_left_over_or_of_a_wrong_shape_is_named(
    llama: Path, tmp_path: Path, tensors: dict[str, Any], said: str
) -> None:
    folder = change(llama, tmp_path / "changed", **tensors)
    with pytest.raises(RunError, match=said):
        take_apart(folder, tmp_path / "out", job(folder, weights={"norm.weight": [32]}))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_the_model_without_its_head_is_read_under_its_shorter_names(
    llama: Path, tmp_path: Path
) -> None:
    bare = {name.removeprefix("model."): tensor for name, tensor in load_file(llama / "model.safetensors").items()}
    bare.pop("lm_head.weight")
    (tmp_path / "bare").mkdir()
    save_file(bare, tmp_path / "bare" / "model.safetensors", {"format": "pt"})
    moves = [move for move in read_moves(job(llama)["moves"]) if move.theirs != "lm_head.weight"]
    found = matched(moves, open_folder(tmp_path / "bare"), [])
    assert {move.theirs for move in found} == set(bare)


@pytest.mark.parametrize(
    ("family", "table", "copy"),
    [
        ("llama", "model.embed_tokens.weight", "lm_head.weight"),
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
        ("bloom", "transformer.word_embeddings.weight", "lm_head.weight"),
        ("bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("t5", "shared.weight", "encoder.embed_tokens.weight"),
    ],
)
def test_a_tied_table_that_is_written_twice_must_be_the_same_twice(
    family: str, table: str, copy: str, tmp_path: Path
) -> None:
    alike = (case for case in CASES if case.model_type == family)
    case = next(case for case in alike if family != "llama" or case.keywords.get("tie_word_embeddings"))
    built(case).save_pretrained(tmp_path / "tied")
    tensors = load_file(tmp_path / "tied/model.safetensors")
    assert copy not in tensors
    once_more = change(tmp_path / "tied", tmp_path / "more", **{copy: tensors[table].clone()})
    assert take_apart(once_more, tmp_path / "out", job(once_more))["tensors"] == len(tensors)
    other = change(tmp_path / "tied", tmp_path / "other", **{copy: tensors[table] + 1})
    with pytest.raises(RunError, match=f"`{copy}` differs from `{table}`, and the config makes them one table"):
        take_apart(other, tmp_path / "none", job(other))


def test_weights_that_nobody_reads_are_named_and_not_counted(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.model_type == "bert")
    built(case).save_pretrained(tmp_path / "bert")
    pooled = change(tmp_path / "bert", tmp_path / "pooled", **{"bert.pooler.dense.bias": torch.zeros(3)})
    done = take_apart(pooled, tmp_path / "out", job(pooled))
    assert done["tensors"] == len(load_file(tmp_path / "bert/model.safetensors"))
    (told,) = done["unread"]
    assert told.startswith("`bert.pooler.dense.bias`: `BertForMaskedLM` has no such part")


def test_pickled_and_broken_weights_are_refused(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(RunError, match="is a pickle, which can run any code when it is read"):
        open_folder(tmp_path)
    whole = (llama / "model.safetensors").read_bytes()
    for content in (whole[:-100], whole[:20], b"", b"\xff" * 64):
        (tmp_path / "model.safetensors").write_bytes(content)
        with pytest.raises(RunError, match=r"not copied whole|cut off"):
            open_folder(tmp_path)


def test_an_export_that_fails_leaves_nothing(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_apart(llama, tmp_path, job(llama))

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "_write_settings", fail)
    with pytest.raises(KeyboardInterrupt):
        hand_over(handover(llama, tmp_path / "weights.safetensors"), tmp_path / "back")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.safetensors"]


def test_bytes_are_exported_as_a_tokenizer_that_gives_the_same_ids(llama: Path, tmp_path: Path) -> None:
    take_apart(llama, tmp_path, job(llama))
    hand_over(handover(llama, tmp_path / "weights.safetensors", origin=None), tmp_path / "back")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    ours = tokenizer(BYTES)
    for text in (
        "def f(x):\n\treturn x  # ünïcode",
        "  two  blanks ",
        "日本語 \U0001f600",
        "".join(map(chr, range(1, 256))),
    ):
        assert theirs(text).input_ids == ours.encode(text) == list(text.encode("utf-8"))
        assert theirs.decode(ours.encode(text)) == text
    assert theirs.eos_token_id == ours.end_of_document == 256
    config = json.loads((tmp_path / "back" / "config.json").read_text(encoding="utf-8"))
    assert (config["eos_token_id"], config["dtype"]) == (256, "bfloat16")
