"""The presets of released models: what they say, how large they are, and that their code runs."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from specc import driver, huggingface
from tests import compiling
from tests.conftest import ROOT, Specc
from tests.presets.compiling import FOLDER, PRESETS, lowered, section, small, validated
from tests.presets.published import PUBLISHED
from tests.presets.released import RELEASED

BALANCED = {"mixtral_8x7b", "qwen1_5_moe_a2_7b", "qwen3_30b_a3b"}
SPEC = """\
extends: [presets/tiny.yaml, presets/models/{preset}.yaml]
name: small
stages: {{pretrain: {{objective: {{kind: {objective}}}}}}}
"""
JUDGES = {
    "decoder": transformers.AutoModelForCausalLM,
    "encoder": transformers.AutoModelForMaskedLM,
    "encoder_decoder": transformers.AutoModelForSeq2SeqLM,
}
OBJECTIVES = {"decoder": "causal", "encoder": "masked", "encoder_decoder": "span_corruption"}


def test_every_preset_has_a_release_and_a_published_size() -> None:
    assert set(PRESETS) == set(PUBLISHED)
    assert {figure.hub for figure in PUBLISHED.values()} == set(RELEASED)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_what_its_released_config_says(preset: str) -> None:
    config = RELEASED[PUBLISHED[preset].hub]
    # Released configs leave the loss out that balances experts; with this key they are as they were trained.
    trained = {"output_router_logits": True} if preset in BALANCED else {}
    assert validated(section(preset)) == validated(huggingface.read({**config, **trained}).model)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_its_source_and_its_checkpoint(preset: str) -> None:
    text = (FOLDER / f"{preset}.yaml").read_text(encoding="utf-8")
    comment = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert f"config.json of {PUBLISHED[preset].hub}.\n" in comment
    assert "(" in comment.partition("config.json")[0]


def test_the_page_of_presets_has_each_with_its_parameters() -> None:
    page = (ROOT / "docs/presets.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"\| \[`(\w+)`\]\(\S+\) \| ([\d,]+) \|", page))
    assert listed == {preset: f"{lowered(preset).parameters:,}" for preset in PRESETS}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_the_parameters_of_transformers(preset: str) -> None:
    config = RELEASED[PUBLISHED[preset].hub]
    with torch.device("meta"):
        judge = JUDGES[section(preset)["kind"]].from_config(CONFIG_MAPPING[config["model_type"]](**config))
    count = sum(value.numel() for value in judge.parameters())
    if config["model_type"] == "t5" and config.get("tie_word_embeddings") is False:
        count += judge.lm_head.weight.numel()  # transformers 5.23 ties it, whatever the config says
    assert lowered(preset).parameters == count


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_its_published_parameters(preset: str) -> None:
    figure, model = PUBLISHED[preset], lowered(preset)
    head = sum(weight.count for weight in model.head.weights if len(weight.sizes) == 2)
    tokens = model.embedding.parameters
    ours = model.parameters - {"all": 0, "without the token table": tokens, "without tables": tokens + head}[figure.of]
    number, unit = figure.published[:-1], {"M": 10**6, "B": 10**9}.get(figure.published[-1])
    if unit is None:
        assert ours == int(figure.published.replace(",", ""))
    else:
        # Some round and some cut, so a figure holds to one unit of its last digit.
        last = Decimal(1).scaleb(int(Decimal(number).as_tuple().exponent))
        assert abs(Decimal(ours) / unit - Decimal(number)) < last


@pytest.mark.parametrize("preset", PRESETS)
def test_a_small_twin_of_a_preset_compiles_and_runs(preset: str, tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    family = section(preset)["kind"]
    spec.write_text(SPEC.format(preset=preset, objective=OBJECTIVES[family]), encoding="utf-8")
    plan = compiling.planned(*small(preset), spec=spec)
    generated = compiling.module(compiling.files(plan)["model.py"], tmp_path)
    torch.manual_seed(0)
    model = generated.Model().eval()
    assert sum(value.numel() for value in model.parameters()) == plan.experiment.model.parameters
    ids = torch.randint(0, 264, (2, 33))
    with torch.no_grad():
        logits = model(ids, ids) if family == "encoder_decoder" else model(ids)
    assert logits.shape == (2, 33, 264)
    assert logits.isfinite().all()


def test_a_spec_that_extends_a_preset_needs_what_a_preset_has_not(specc: Specc, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text("extends: presets/models/llama3_2_1b.yaml\n", encoding="utf-8")
    said = specc("check", "spec.yaml")
    assert said.code == 1
    assert "a spec needs `specc`, `name`, `seed`, `tokenizer` and `stages`" in said.err
    assert "a file with `model` alone is a preset" in said.err


def test_a_model_is_made_smaller_by_what_a_spec_says_above_its_preset(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        SPEC.format(preset="llama3_8b", objective="causal") + "model: {num_layers: 2, context_length: 128}\n",
        encoding="utf-8",
    )
    outcome = driver.check(spec, ("cluster={device: h100_sxm}",))
    assert outcome.plan is not None
    model = outcome.plan.experiment.model
    # By hand: 2 x (2 x 4096^2 + 2 x 4096 x 1024 + 3 x 4096 x 14336 + 2 x 4096) + 2 x 128256 x 4096 + 4096
    assert model.parameters == 1_486_901_248
