from __future__ import annotations

import importlib.util
import json
import math
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F

from runners import baseline, checkpoint, evaluate
from runners.data import prepare
from runners.evaluate import held_out_documents
from runners.events import read_events
from runners.sampling import generate
from runners.tokenizer import ByteTokenizer

if TYPE_CHECKING:
    from tests.runners.conftest import Experiment

LENGTH = 32


def save_weights(experiment: Experiment, weights: dict[str, torch.Tensor]) -> None:
    pieces = [checkpoint.whole_piece(f"model/{name}", weight) for name, weight in weights.items()]
    checkpoint.save(experiment.folder / "trained", 1, 1, 1.0, pieces, {}, checkpoint.Keep(1))


def generated(experiment: Experiment) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_model", experiment.plan / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def direct_bits(model: torch.nn.Module, document: bytes) -> float:
    """Bits of a document: windows of LENGTH, each beginning with the byte before it; the last one ends at the end."""
    ids = [256, *document]
    total, done = 0.0, 0
    while done < len(document):
        new = min(LENGTH, len(document) - done)
        row = torch.tensor([ids[done : done + new + 1]])
        with torch.no_grad():
            total += F.cross_entropy(model(row[:, :-1])[0].double(), row[0, 1:], reduction="sum").item()
        done += new
    return total / math.log(2)


@pytest.mark.filterwarnings("ignore")  # of lm_eval and datasets, when they are imported
def test_bits_per_byte_equal_a_direct_computation_over_the_same_bytes(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    experiment.change("steps=200", "steps=60")
    assert experiment.execute_here(monkeypatch, "train.py", "trained") == 0
    capfd.readouterr()
    arguments = ("--from", f"pretrain={experiment.folder / 'trained'}")
    assert experiment.execute_here(monkeypatch, "evaluate.py", "evaluated", *arguments) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 4
    run = experiment.folder / "evaluated"
    found: dict[str, dict[str, Any]] = {e["model"]: dict(e) for e in read_events(run) if e["type"] == "evaluation"}
    data = prepare(experiment.folder, experiment.manifest, "corpus")
    documents = held_out_documents(data, None)
    model = generated(experiment).Model()
    model.load_state_dict(checkpoint.required(experiment.folder / "trained").weights())
    size = sum(map(len, documents))
    direct = sum(direct_bits(model, document) for document in documents) / size
    assert found["pretrain"]["value"] == pytest.approx(direct, rel=1e-5)
    assert found["pretrain"]["examples"] == found["byte_trigram"]["examples"] == len(documents)
    assert found["pretrain"]["task"] == found["byte_trigram"]["task"] == "tiny_held_out_corpus"
    assert found["pretrain"]["metric"] == "bits_per_byte"
    trigram = baseline.bits_per_byte(baseline.fit(data.train.open()), documents)
    assert found["byte_trigram"]["value"] == pytest.approx(trigram, rel=1e-12)
    kept = json.loads((run / "results" / "pretrain" / "held_out" / "results.json").read_text())
    assert kept["results"]["tiny_held_out::tiny_held_out_corpus"]["bits_per_byte,none"] == pytest.approx(
        direct, rel=1e-5
    )
    samples = (run / "results" / "pretrain" / "held_out" / "samples_tiny_held_out_corpus.jsonl").read_text()
    assert len(samples.splitlines()) == len(documents)
    started = next(event for event in read_events(run) if event["type"] == "run_started")
    assert started["upstream"] == {"pretrain": "tiny/trained"}


@pytest.mark.filterwarnings("ignore")
def test_loglikelihood_is_that_of_the_continuation_whatever_the_batch(experiment: Experiment) -> None:
    from lm_eval.api.instance import Instance

    from runners.harness import GeneratedModel

    torch.manual_seed(0)
    module = generated(experiment)
    network = module.Model()
    pairs = [("", "abc"), ("some context", " x"), ("ü", "y" * 5), ("c" * 60, "zz")]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    answers = [
        GeneratedModel(network, module.Cache, ByteTokenizer(256), size, LENGTH, lambda *_: None).loglikelihood(requests)
        for size in (1, 3)
    ]
    assert [score for score, _ in answers[0]] == pytest.approx([score for score, _ in answers[1]], rel=1e-5)
    context, target = [256, *b"some context"], list(b" x")
    logits = torch.log_softmax(network(torch.tensor([context + target]))[0], dim=-1)
    direct = sum(logits[len(context) - 1 + at, token].item() for at, token in enumerate(target))
    assert answers[0][1][0] == pytest.approx(direct, rel=1e-5)
    assert answers[0][1][1] == (logits[len(context) - 1 : -1].argmax(-1).tolist() == target)


@pytest.mark.filterwarnings("ignore")
def test_generation_stops_at_a_stop_string_and_equals_decoding_without_a_cache(experiment: Experiment) -> None:
    from lm_eval.api.instance import Instance

    from runners.harness import GeneratedModel

    torch.manual_seed(1)
    module = generated(experiment)
    network = module.Model()
    ids = [256, *b"abc"]
    for _ in range(12):
        ids.append(int(network(torch.tensor([ids]))[0, -1].argmax()))
    prompt = torch.tensor([[256, *b"abc"]])
    assert generate(network, module.Cache, prompt, 12)[0].tolist() == ids[4:]
    plain = bytes(token for token in ids[4:] if token < 256).decode("utf-8", errors="replace")
    model = GeneratedModel(network, module.Cache, ByteTokenizer(256), 4, LENGTH, lambda *_: None)
    stop = plain[2:4]
    requests = [Instance("generate_until", {}, ("abc", {"max_gen_toks": 12, "until": [stop]}), 0)]
    assert model.generate_until(requests) == [plain[: plain.index(stop)]]


def test_weights_are_bf16_on_a_gpu_and_fp32_on_a_cpu(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.weight_type(torch.device("cuda", 0)) == torch.bfloat16
    assert evaluate.weight_type(torch.device("cpu")) == torch.float32
    weights = generated(experiment).Model().state_dict()
    save_weights(experiment, weights)
    types: list[set[torch.dtype]] = []

    def no_suites(network: torch.nn.Module, *_: object) -> tuple[()]:
        types.append({weight.dtype for weight in network.parameters()})
        return ()

    monkeypatch.setattr(evaluate, "_model_records", no_suites)
    upstream = ("--from", f"pretrain={experiment.folder / 'trained'}")
    assert experiment.execute_here(monkeypatch, "evaluate.py", "one", *upstream) == 0
    monkeypatch.setattr(evaluate, "weight_type", lambda _: torch.bfloat16)
    assert experiment.execute_here(monkeypatch, "evaluate.py", "two", *upstream) == 0
    said = capsys.readouterr().out
    assert types == [{torch.float32}, {torch.bfloat16}]
    assert "step 1, fp32 on cpu" in said
    assert "step 1, bf16 on cpu" in said


def test_a_missing_upstream_run_is_a_plain_error(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment.execute_here(monkeypatch, "evaluate.py", "evaluated") == 1
    assert "add `--from pretrain=RUN_DIR`" in capsys.readouterr().err
    (experiment.folder / "empty").mkdir()
    arguments = ("--from", f"pretrain={experiment.folder / 'empty'}")
    assert experiment.execute_here(monkeypatch, "evaluate.py", "evaluated", *arguments) == 1
    assert "holds no checkpoint to read" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_suite_that_asks_for_turns_is_asked_in_turns(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    suite = experiment.plan / "suites/held_out.yaml"
    written = suite.read_text().replace("loglikelihood_rolling", "generate_until")
    written = written.replace(
        'doc_to_text: ""', "doc_to_text: name\n    generation_kwargs: {max_gen_toks: 2, until: [x]}"
    )
    written = written.replace("bits_per_byte, aggregation: bits_per_byte", "exact_match, aggregation: mean")
    suite.write_text(written + "metadata: {apply_chat_template: true}\n")
    experiment.declare(tokenizer={**experiment.manifest.tokenizer, "chat_template": "chatml"})
    save_weights(experiment, generated(experiment).Model().state_dict())
    arguments = ("--from", f"pretrain={experiment.folder / 'trained'}")
    assert experiment.execute_here(monkeypatch, "evaluate.py", "evaluated", *arguments) == 0, capfd.readouterr().err
    (folder,) = (experiment.folder / "evaluated" / "results").iterdir()
    lines = (folder / "held_out" / "samples_tiny_held_out_corpus.jsonl").read_text().splitlines()
    for sample in map(json.loads, lines):
        prompt = sample["arguments"][0][0]
        assert prompt == f"<|im_start|>user\n{sample['doc']['name']}<|im_end|>\n<|im_start|>assistant\n"
