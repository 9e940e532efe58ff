"""From a checkpoint of transformers to a spec, through training and scores, and back to transformers."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.nn import functional as F

from runners.events import read_events
from specc import driver
from tests.compiling import module
from tests.conftest import Said, Specc
from tests.huggingface.checkpoints import LENGTH, write

MORE = """
extends: spec.yaml
name: more
data: {text: {sources: {files: {path: "text/*.txt"}}, holdout: 20%}}
suites: {held_out: {tasks: [{task: bits_per_byte, data: text}]}}
stages:
  pretrain:
    kind: pretrain
    from: base
    data: text
    duration: 12 steps
    global_batch_size: 8 sequences
    optimizer: {kind: adamw, learning_rate: 3.0e-3}
    schedule: {kind: cosine, warmup: 2 steps}
    precision: fp32
    validation: {every: 12 steps}
    sample: {tokens: 8}
  evaluate:
    kind: evaluate
    models: [base, pretrain]
    suites: [held_out]
    baselines: [{kind: byte_trigram, data: text}]
  export: {kind: export, from: pretrain, format: huggingface}
"""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    write(folder)
    return folder


@pytest.fixture(scope="session")
def imported_once(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """The checkpoint, imported by the command itself."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("imported")
    command = [sys.executable, "-m", "specc", "import", str(checkpoint), "-o", "out"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "out"


@pytest.fixture
def out(imported_once: Path, tmp_path: Path) -> Path:
    """A copy of it to work on, with texts beside it."""
    shutil.copytree(imported_once, tmp_path / "out")
    words = random.Random(1)
    (tmp_path / "text").mkdir()
    for index in range(60):
        text = " ".join(words.choice(["the", "cat", "sat", "on", "a", "mät", "dog"]) for _ in range(25))
        (tmp_path / "text" / f"{index}.txt").write_text(text, encoding="utf-8")
    return tmp_path / "out"


def run_folder(folder: Path, stage: str) -> Path:
    (found,) = folder.glob(f"runs/more/{stage}-*")
    return found


def direct_bits(folder: Path, documents: list[str]) -> float:
    """Bits per byte by transformers alone: each document fits into the context."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    encoding = transformers.AutoTokenizer.from_pretrained(folder)
    bits, size = 0.0, 0
    for text in documents:
        ids = torch.tensor([encoding(text).input_ids])
        assert ids[0, 0] == encoding.bos_token_id
        assert ids.shape[1] <= LENGTH + 1
        with torch.no_grad():
            logits = model(ids[:, :-1]).logits[0].double()
        bits += F.cross_entropy(logits, ids[0, 1:], reduction="sum").item() / math.log(2)
        size += len(text.encode("utf-8"))
    return bits / size


def test_what_is_imported_is_trained_scored_and_handed_back(specc: Specc, out: Path, checkpoint: Path) -> None:
    (out / "more.yaml").write_text(MORE, encoding="utf-8")
    said = specc("run", "out/more.yaml")
    assert said.code == 0, said.err
    assert "pretrain finished: 12 steps" in said.out.replace(run_folder(out.parent, "pretrain").name, "pretrain")
    exported = run_folder(out.parent, "export") / "huggingface"
    events = read_events(run_folder(out.parent, "evaluate"))
    scores = {event["model"]: event["value"] for event in events if event["type"] == "evaluation"}
    (held_out,) = _held_out(out.parent)
    documents = [json.loads(line)["text"] for line in held_out.read_text(encoding="utf-8").splitlines()]
    assert scores["base"] == pytest.approx(direct_bits(checkpoint, documents), rel=1e-5)
    assert scores["pretrain"] == pytest.approx(direct_bits(exported, documents), rel=1e-5)
    assert scores["pretrain"] < scores["base"] - 0.1
    assert 0 < scores["byte_trigram"] < scores["base"]
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (exported / name).read_bytes() == (checkpoint / name).read_bytes()
    again = specc("export", "more/pretrain", "--format", "huggingface", "-o", "by_hand")
    assert again.code == 0, again.err
    assert (out.parent / "by_hand/model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()


def _held_out(folder: Path) -> list[Path]:
    """The held-out documents, which are the same in every encoding of the data."""
    files = sorted(folder.glob("runs/data/*/validation.jsonl"))
    assert len({file.read_bytes() for file in files}) == 1
    return files[:1]


def test_the_spec_checks_is_laid_out_and_names_no_place(specc: Specc, out: Path) -> None:
    text = (out / "spec.yaml").read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=.specc/specc.schema.json\n")
    assert (out / ".specc/specc.schema.json").is_file()
    assert specc("fmt", "--check", "out/spec.yaml").code == 0
    outcome = driver.check(out / "spec.yaml")
    assert not outcome.diagnostics
    assert str(out.parent) not in text
    assert outcome.plan is not None
    experiment = outcome.plan.experiment
    assert (experiment.tokenizer.vocab_size, experiment.tokenizer.end_of_document) == (273, 0)
    assert "which the tokenizer puts before a text" in text
    assert experiment.stage("base").kind == "import"


def test_what_was_imported_is_exported_as_it_was(specc: Specc, out: Path, checkpoint: Path) -> None:
    said = specc("export", "out", "--format", "huggingface", "-o", "back")
    assert said.code == 0, said.err
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, out.parent / "back"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = torch.randint(0, 273, (2, 20))
    models = [transformers.AutoModelForCausalLM.from_pretrained(f).eval() for f in (checkpoint, out.parent / "back")]
    assert torch.equal(models[0](ids).logits, models[1](ids).logits)
    again = specc("export", "out", "--format", "huggingface", "-o", "back")
    assert (again.code, "back is there already" in again.err) == (1, True)


def test_other_weights_and_another_tokenizer_are_refused(specc: Specc, out: Path) -> None:
    weights = out / "base/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    said = specc("run", "out/spec.yaml")
    assert (said.code, "other weights" in said.err) == (1, True)
    (out / "more.yaml").write_text(MORE, encoding="utf-8")
    tokenizer = out / "tokenizer/tokenizer.json"
    tokenizer.write_text(tokenizer.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    fresh = ("--set", "stages.pretrain.from=null", "pretrain")
    said = specc("run", "out/more.yaml", *fresh)
    assert (said.code, "another tokenizer" in said.err) == (1, True)
    assert "Traceback" not in said.err


def config(folder: Path, checkpoint: Path, **changes: Any) -> Path:
    folder.mkdir()
    found = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**found, **changes}, indent=2), encoding="utf-8")
    return folder


def refused(specc: Specc, *arguments: str) -> Said:
    said = specc("import", *arguments, "-o", "new")
    assert said.code == 1
    assert "Traceback" not in said.err
    return said


def test_what_a_config_says_wrong_is_shown_at_its_place(specc: Specc, tmp_path: Path, checkpoint: Path) -> None:
    config(tmp_path / "mish", checkpoint, hidden_act="mish")
    said = refused(specc, "mish").err
    assert 'error[SPC902]: `hidden_act: "mish"` of this config cannot be read' in said
    line = (tmp_path / "mish/config.json").read_text(encoding="utf-8").splitlines().index('  "hidden_act": "mish",') + 1
    assert f"mish/config.json:{line}:" in said
    config(tmp_path / "lama", checkpoint, model_type="lama")
    assert "did you mean `llama`?" in refused(specc, "lama").err
    (tmp_path / "lama/config.json").write_text('{"model_type": "llama",\n "a": }', encoding="utf-8")
    said = refused(specc, "lama").err
    assert "error[SPC912]: this is not JSON: expecting value" in said
    assert "lama/config.json:2:7" in said
    assert "there is no such file" in refused(specc, "nowhere").err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lama", "mish"]


def test_a_checkpoint_that_cannot_be_taken_apart_leaves_nothing(specc: Specc, tmp_path: Path, checkpoint: Path) -> None:
    config(tmp_path / "more_layers", checkpoint, num_hidden_layers=3)
    shutil.copyfile(checkpoint / "model.safetensors", tmp_path / "more_layers/model.safetensors")
    assert "lacks `model.layers.2." in refused(specc, "more_layers").err
    assert [path.name for path in tmp_path.iterdir()] == ["more_layers"]


def test_a_config_alone_becomes_a_spec_to_train_from_nothing(specc: Specc, tmp_path: Path, checkpoint: Path) -> None:
    config(tmp_path / "alone", checkpoint)
    assert specc("import", "alone", "-o", "new").code == 0
    assert specc("fmt", "--check", "new/spec.yaml").code == 0
    outcome = driver.check(tmp_path / "new/spec.yaml")
    assert not outcome.failed
    assert [stage.kind for plan in outcome.plans for stage in plan.experiment.stages] == ["pretrain"]
    sizes = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
    config(tmp_path / "large", checkpoint, **sizes, num_key_value_heads=8, head_dim=128, vocab_size=128_256)
    assert specc("import", "large", "-o", "large_spec").code == 0
    (plan,) = driver.check(tmp_path / "large_spec/spec.yaml").plans
    # What the state dict of meta-llama's 70B holds (Grattafiori et al. 2024, arXiv:2407.21783, table 3, is rounded).
    assert plan.experiment.model.parameters == 70_553_706_496


def test_what_is_there_is_replaced_only_when_asked(specc: Specc, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/mine.txt").write_text("mine", encoding="utf-8")
    (tmp_path / ".new.importing").mkdir()  # of an import that was killed
    (tmp_path / ".new.importing/half").write_text("half", encoding="utf-8")
    assert "new is there already" in refused(specc, str(checkpoint)).err
    assert (tmp_path / "new/mine.txt").is_file()
    assert specc("import", str(checkpoint), "-o", "new", "--force", "--no-weights").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new/mine.txt").is_file()
    assert (tmp_path / "new/spec.yaml").is_file()
    (tmp_path / "new").rename(tmp_path / ".new.before")  # an import that was killed between its two renames
    assert "new is there already" in refused(specc, str(checkpoint)).err
    assert (tmp_path / "new/mine.txt").is_file()


def test_an_export_that_is_not_possible_says_why(specc: Specc, out: Path) -> None:
    export = ("export", "out", "--format", "huggingface", "-o", "back")
    assert "there is no family `lama`" in specc(*export, "--family", "lama").err
    said = specc("export", "out/none", "--format", "huggingface", "-o", "back")
    assert "neither a run below runs nor a folder" in said.err
    (out / "spec.yaml").write_text((out / "spec.yaml").read_text().replace("kind: rope", "kind: alibi"))
    changed = (out / "spec.yaml").read_text().replace(", rope_theta: 10000.0", "")
    (out / "spec.yaml").write_text(changed)
    said = specc(*export, "--module", "native")
    assert said.code == 1
    assert "`LlamaForCausalLM` cannot compute this model: its config is written from `rope_theta`" in said.err
    assert not (out.parent / "back").exists()


def test_a_model_on_bytes_is_exported_with_a_tokenizer_of_bytes(specc: Specc, out: Path) -> None:
    folder = out.parent
    spec = "extends: presets/tiny.yaml\nname: bytes\ndata: {text: {holdout: 20%}}\n"
    spec += "stages: {pretrain: {duration: 2 steps, schedule: {warmup: 1 step}}}\n"
    (folder / "spec.yaml").write_text(spec, encoding="utf-8")
    said = specc("run", "spec.yaml")
    assert said.code == 0, said.err
    assert specc("export", "bytes/pretrain", "--format", "huggingface", "-o", "back").code == 0
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "back").eval()
    encoding = transformers.AutoTokenizer.from_pretrained(folder / "back")
    text = "the cät sat"
    ids = encoding(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == list(text.encode("utf-8"))
    (plan,) = folder.glob("runs/bytes/plans/*")
    ours = module((plan / "model.py").read_text(encoding="utf-8"), folder).Model()
    (weights,) = folder.glob("runs/bytes/pretrain-*/checkpoints/step-00000002/weights.safetensors")
    ours.load_state_dict(load_file(weights))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), model(ids).logits, rtol=1e-5, atol=1e-5)
