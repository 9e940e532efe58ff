"""Tokenizers of other models in the runners; transformers and lm-eval are the judges."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

from runners import places
from runners.data import prepare
from runners.errors import RunError
from runners.huggingface import take_apart
from runners.tensor_files import open_file
from runners.tokenizer import token_type, tokenizer
from specc import huggingface
from specc.backends import model as model_backend
from specc.importing import read_checkpoint
from tests.compiling import module, planned
from tests.huggingface.checkpoints import LENGTH, write

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

TEXTS = ("the cat sat", " on a mat", "ünïcode 日本 \U0001f600", "", "  blanks  \n\tand tabs", "x" * 50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("checkpoint")
    write(found)
    return found


@pytest.fixture
def declared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a plan declares whose spec lies beside the folder."""
    monkeypatch.setenv(places.FOLDER, str(folder.parent))
    return {"kind": "pretrained", "path": folder.name, "vocab_size": 273, "end_of_document": 0, "chat_template": "none"}


def test_ids_and_text_are_those_of_transformers(folder: Path, declared: dict[str, Any]) -> None:
    ours, theirs = tokenizer(declared), transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
        assert ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text), skip_special_tokens=True) == text
    assert ours.ends == {theirs.eos_token_id}
    assert ours.encode_bytes(b"\xff\xfe") is None


def test_a_tokenizer_that_is_not_the_declared_one_is_refused(folder: Path, declared: dict[str, Any]) -> None:
    for changes, said in (
        ({"vocab_size": 100}, "has ids up to 272, and `tokenizer.vocab_size` is 100: use 273"),
        ({"sha256": "0" * 64}, "another tokenizer"),
        ({"path": "nowhere"}, "nothing is fetched from a hub"),
        ({"kind": "morse"}, "does not run the tokenizer kind `morse`"),
    ):
        with pytest.raises(RunError, match=said):
            tokenizer({**declared, **changes})


def test_documents_are_written_as_ids_each_after_the_token_that_starts_it(
    experiment: Experiment, corpus: Path, declared: dict[str, Any]
) -> None:
    (corpus / "part0" / "broken.py").write_bytes(b"\xff\xfe\xfd")
    manifest = dataclasses.replace(experiment.manifest, tokenizer=declared)
    data = prepare(experiment.folder, manifest, "corpus")
    tokens, text = data.train.open()[:], tokenizer(declared)
    starts = [*np.flatnonzero(tokens == 0), len(tokens)]
    written = {text.decode(tokens[a + 1 : b].tolist()) for a, b in pairwise(starts)}
    files = {path.read_bytes() for path in corpus.rglob("*.py")} - {b"\xff\xfe\xfd"}
    held_out = {json.loads(line)["text"] for line in data.held_out.read_text(encoding="utf-8").splitlines()}
    assert {one.encode() for one in written | held_out} == files
    assert data.skipped == {"empty": 0, "not_utf8": 1}
    assert data.train.ranges["main"].bytes == sum(len(one.encode()) for one in written)
    in_bytes = prepare(experiment.folder, experiment.manifest, "corpus")
    assert in_bytes.folder != data.folder
    assert in_bytes.held_out.read_bytes() == data.held_out.read_bytes()


def test_ids_beyond_65535_have_four_bytes(
    experiment: Experiment, folder: Path, declared: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [token_type(size).itemsize for size in (257, 65_536, 65_537, 250_000)] == [2, 2, 4, 4]
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = content["model"]
    model["vocab"] = {word: number + 100_000 for word, number in model["vocab"].items()}
    content["added_tokens"][0]["id"], content["post_processor"] = 100_000, None
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide/tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setenv(places.FOLDER, str(tmp_path))
    wide = {**declared, "path": "wide", "vocab_size": 100_273, "end_of_document": 100_000}
    data = prepare(experiment.folder, dataclasses.replace(experiment.manifest, tokenizer=wide), "corpus")
    tokens = data.train.open()[:]
    assert tokens.dtype == np.dtype("<u4")
    assert tokens.min() >= 100_000
    assert tokens[0] == 100_000


def generated(folder: Path, tmp_path: Path) -> Any:
    """The generated module of the imported architecture."""
    reading = read_checkpoint(folder, None).reading
    (tmp_path / "spec.yaml").write_text(
        "extends: presets/tiny.yaml\n"
        "tokenizer: {kind: pretrained, path: x, vocab_size: 273, end_of_document: 0}\n"
        f"model: {json.dumps(reading.model)}\n",
        encoding="utf-8",
    )
    plan = planned(spec=tmp_path / "spec.yaml")
    (artifact,) = model_backend.emit(plan)
    return module(artifact.text, tmp_path)


def imported(folder: Path, tmp_path: Path) -> tuple[Any, torch.nn.Module]:
    """The generated module of the architecture, and its model with the imported weights."""
    reading = read_checkpoint(folder, None).reading
    job = {"moves": huggingface.as_data(reading.moves), "ignored": list(reading.ignored), "unread": {}, "weights": {}}
    take_apart(folder, tmp_path, job)
    stored = open_file(tmp_path / "weights.safetensors")
    code = generated(folder, tmp_path)
    network = code.Model()
    network.load_state_dict({name: stored.read(name) for name in stored.entries})
    return code, network


@pytest.mark.filterwarnings("ignore")
def test_scores_are_those_of_transformers_for_pairs_cut_as_lm_eval_cuts_them(
    folder: Path, declared: dict[str, Any], tmp_path: Path
) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import TemplateLM

    from runners.harness import GeneratedModel

    code, network = imported(folder, tmp_path)
    ours = GeneratedModel(network, code.Cache, tokenizer(declared), 3, LENGTH, lambda *_: None)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    cutter = SimpleNamespace(backend="causal", tok_encode=theirs.encode)
    pairs = [("the cat", " sat on"), ("a mat ", "the dog"), ("", "cat"), ("ü", "x" * 9), ("the cat sat " * 30, "on")]
    asked = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    for pair, (score, greedy) in zip(pairs, ours.loglikelihood(asked), strict=True):
        before, after = TemplateLM._encode_pair(cutter, *pair) if pair[0] else ([0], theirs.encode(pair[1])[1:])
        ids = torch.tensor([[*before, *after][-(LENGTH + 1) :]])
        logits = torch.log_softmax(model(ids[:, :-1]).logits[0, -len(after) :].double(), dim=-1)
        direct = logits.gather(1, torch.tensor(after)[:, None]).sum().item()
        assert score == pytest.approx(direct, rel=1e-4)
        assert greedy == (logits.argmax(-1).tolist() == after)


@pytest.mark.filterwarnings("ignore")
def test_what_is_written_is_what_transformers_writes(folder: Path, declared: dict[str, Any], tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance

    from runners.harness import GeneratedModel

    code, network = imported(folder, tmp_path)
    ours = GeneratedModel(network, code.Cache, tokenizer(declared), 3, LENGTH, lambda *_: None)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("the cat", "a dog on", "x", "mat mat"):
        ids = theirs(text, return_tensors="pt").input_ids
        written = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        plain = theirs.decode(written, skip_special_tokens=True)
        # A letter that is half written shows as a replacement character, until its next byte is there.
        for stop in {letter for letter in plain[1:] if letter != "\ufffd"} | {"never written"}:
            options = {"max_gen_toks": 12, "until": [stop]}
            (answer,) = ours.generate_until([Instance("generate_until", {}, (text, options), 0)])
            assert answer == plain.partition(stop)[0]
