"""From a run to a folder with modeling code, and what the tools around transformers make of that folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from runners.byte_tokenizer_files import END
from runners.harness import GeneratedModel
from runners.tokenizer import tokenizer
from tests.compiling import module
from tests.conftest import Specc

SPEC = """
extends: presets/tiny.yaml
name: biased
model:
  position: {kind: alibi}
  attention: {kind: gqa, num_heads: 4, num_kv_heads: 2, window: 24, pattern: LG}
  head: {kind: lm, bias: true, softcap: 20.0}
data: {text: {holdout: 20%}}
stages:
  pretrain: {duration: 2 steps, schedule: {warmup: 1 step}}
  export: {kind: export, from: pretrain, format: huggingface}
"""
TEXTS = (("the cät sat", " on the mat"), ("a much longer context than that of the other pair, so", " it is padded"))


@dataclass(frozen=True)
class Exported:
    """A folder for transformers, and `model.py` with the weights of the run."""

    folder: Path
    ours: Any
    module: Any


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    root = tmp_path_factory.mktemp("export")
    (root / "spec.yaml").write_text(SPEC, encoding="utf-8")
    (root / "text").mkdir()
    for number in range(40):
        (root / "text" / f"{number}.txt").write_text(f"document {number}: " + "".join(TEXTS[1]) * 5, encoding="utf-8")
    said = ""
    for words in ("run spec.yaml", "export biased/pretrain --format huggingface -o out"):
        command = [sys.executable, "-m", "specc", *words.split()]
        said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert "SpeccForCausalLM" in said
    (plan,) = root.glob("runs/biased/plans/*")
    loaded = module((plan / "model.py").read_text(encoding="utf-8"), root)
    (weights,) = root.glob("runs/biased/pretrain-*/checkpoints/step-00000002/weights.safetensors")
    ours = loaded.Model().eval()
    ours.load_state_dict(load_file(weights))
    return Exported(root / "out", ours, loaded)


def load(folder: Path, **chosen: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(folder), trust_remote_code=True, **chosen).eval()


def test_a_folder_with_code_computes_what_was_trained(exported: Exported) -> None:
    ids = AutoTokenizer.from_pretrained(str(exported.folder), trust_remote_code=True)(
        TEXTS[0][0], return_tensors="pt"
    ).input_ids
    assert ids[0].tolist() == list(TEXTS[0][0].encode("utf-8"))
    with torch.no_grad():
        torch.testing.assert_close(load(exported.folder)(ids).logits, exported.ours(ids), rtol=1e-5, atol=1e-5)


def test_the_stage_of_a_spec_writes_the_same_folder(exported: Exported) -> None:
    (stage,) = exported.folder.parent.glob("runs/biased/export-*/huggingface")
    assert {path.name for path in stage.iterdir()} == {path.name for path in exported.folder.iterdir()}
    for path in exported.folder.iterdir():
        assert path.read_bytes() == (stage / path.name).read_bytes(), path.name


def test_a_class_of_transformers_is_taken_where_one_computes_the_model(specc: Specc, exported: Exported) -> None:
    root = exported.folder.parent
    export = ("export", "biased/pretrain", "--format", "huggingface", "-o", "native")
    assert "families can say this model" in specc(*export, "--module", "native", cwd=root).err
    assert "cannot compute this model" in specc(*export, "--family", "llama", cwd=root).err
    assert json.loads((exported.folder / "config.json").read_text(encoding="utf-8"))["model_type"] == "specc"


def test_lm_eval_scores_the_folder_as_we_score_the_run(exported: Exported) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(exported.folder), trust_remote_code=True, device="cpu", dtype="float32", batch_size=2)
    text = tokenizer({"kind": "byte", "vocab_size": 257, "end_of_document": 256, "chat_template": "none"})
    ours = GeneratedModel(exported.ours, exported.module.Cache, text, 2, 128, lambda done, total: None)
    # Every text of ours begins with the token that ends documents; theirs is given it.
    begun = [(f"{END}{context}", continuation) for context, continuation in TEXTS]
    asked, begun_so = ([Instance("loglikelihood", {}, p, i) for i, p in enumerate(pairs)] for pairs in (TEXTS, begun))
    for one, other in zip(theirs.loglikelihood(begun_so), ours.loglikelihood(asked), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-3)
        assert one[1] == other[1]
    whole = [Instance("loglikelihood_rolling", {}, ("".join(TEXTS[1]) * 3,), 0)]
    assert theirs.loglikelihood_rolling(whole)[0] == pytest.approx(ours.loglikelihood_rolling(whole)[0], rel=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of names that PEFT and TRL still use
def test_adapters_on_every_linear_layer_train_save_and_merge(exported: Exported, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install peft")
    ids = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(0))
    model = peft.get_peft_model(
        load(exported.folder),
        peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False),
    )
    adapted_layers = {
        name.split(".lora_A")[0].rpartition(".")[2] for name, _ in model.named_parameters() if "lora_A" in name
    }
    assert adapted_layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    loss = model(ids, labels=ids).loss
    loss.backward()
    trained = [value for name, value in model.named_parameters() if "lora" in name]
    assert trained
    assert all(value.grad is not None for value in trained)
    model.eval()
    with torch.no_grad():
        adapted = model(ids).logits
        model.save_pretrained(tmp_path / "adapter")
        again = peft.PeftModel.from_pretrained(load(exported.folder), str(tmp_path / "adapter")).eval()
        assert torch.equal(again(ids).logits, adapted)
        merged = model.merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
        torch.testing.assert_close(load(tmp_path / "merged")(ids).logits, adapted, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of names that PEFT and TRL still use
def test_a_trainer_of_trl_takes_a_step_on_packed_documents(exported: Exported, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install trl")
    datasets = pytest.importorskip("datasets")
    before = load(exported.folder)
    chosen = trl.SFTConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        max_length=64,
        packing=True,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
    )
    trainer = trl.SFTTrainer(
        load(exported.folder),
        args=chosen,
        train_dataset=datasets.Dataset.from_dict({"text": ["".join(pair) for pair in TEXTS] * 4}),
        processing_class=AutoTokenizer.from_pretrained(str(exported.folder)),
    )
    assert trainer.train().training_loss > 0
    name = "model.layers.0.attention.q_proj.weight"
    assert not torch.equal(before.get_parameter(name), trainer.model.get_parameter(name))
