"""The spec that an import writes of models that are no decoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import transformers

from specc import driver
from tests.conftest import Specc

SIZES = {"vocab_size": 40, "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
BERT = transformers.BertConfig(**SIZES, architectures=["BertForMaskedLM"])
T5 = transformers.T5Config(
    vocab_size=40, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, architectures=["T5ForConditionalGeneration"]
)
CLASSIFIER = transformers.BertConfig(**SIZES, architectures=["BertForSequenceClassification"])


def folder(path: Path, config: transformers.PreTrainedConfig) -> Path:
    """A config, and a tokenizer whose last thirty ids are sentinels that count down; id 3 is the mask."""
    config.save_pretrained(path)
    words = {f"w{number}": number for number in range(3)} | {"[MASK]": 3}
    sentinels = [{"id": 39 - number, "content": f"<extra_id_{number}>"} for number in range(30)]
    tokenizer = {"model": {"type": "BPE", "vocab": words}, "added_tokens": sentinels}
    (path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    settings = {"mask_token": "[MASK]", "eos_token": "w1"}
    (path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("config", "said", "objective"),
    [(BERT, "mask_token: 3", "masked"), (T5, "sentinel_tokens: [39, 10]", "span_corruption")],
    ids=["bert", "t5"],
)
def test_a_stage_says_what_is_predicted_and_the_tokenizer_has_the_ids_for_it(
    config: transformers.PreTrainedConfig, said: str, objective: str, specc: Specc, tmp_path: Path
) -> None:
    folder(tmp_path / "theirs", config)
    answer = specc("import", "theirs", "-o", "new")
    assert answer.code == 0, answer.err
    assert specc("fmt", "--check", "new/spec.yaml").code == 0
    text = (tmp_path / "new/spec.yaml").read_text(encoding="utf-8")
    assert f"\n  {said}\n" in text
    assert f"\n    objective: {{kind: {objective}}}\n" in text
    assert not driver.check(tmp_path / "new/spec.yaml").failed


def test_the_comment_behind_weights_is_a_stage_that_checks(specc: Specc, tmp_path: Path) -> None:
    theirs = folder(tmp_path / "theirs", BERT)
    transformers.BertForMaskedLM(BERT).save_pretrained(theirs)
    assert specc("import", "theirs", "-o", "new").code == 0
    text = (tmp_path / "new/spec.yaml").read_text(encoding="utf-8")
    lines = text[text.index("#   data:") :].splitlines()
    stage = "\n".join(line.removeprefix("#   ") for line in lines)
    (tmp_path / "new/more.yaml").write_text(f"extends: spec.yaml\nname: more\n{stage}\n", encoding="utf-8")
    outcome = driver.check(tmp_path / "new/more.yaml")
    assert not outcome.failed
    assert outcome.plan is not None
    assert [stage.name for stage in outcome.plan.experiment.stages] == ["base", "pretrain"]


def test_a_head_that_no_stage_trains_is_said_to_have_none(specc: Specc, tmp_path: Path) -> None:
    theirs = folder(tmp_path / "theirs", CLASSIFIER)
    transformers.BertForSequenceClassification(CLASSIFIER).save_pretrained(theirs)
    assert specc("import", "theirs", "-o", "new").code == 0
    text = (tmp_path / "new/spec.yaml").read_text(encoding="utf-8")
    assert "# No stage trains the head `classification` in this version" in text
    assert "objective" not in text
