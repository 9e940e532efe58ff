"""`python -m benchmarks.parameters`: the compiler's own count beside figures of others."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import parameters

# Counted from the classes of transformers 5.23 on the meta device.
MODELS: dict[str, tuple[dict[str, Any], str, int]] = {
    "GPT-2 large": ({"n_layer": 36, "n_embd": 1280, "n_head": 20}, "GPT2LMHeadModel(GPT2Config)", 774_030_080),
    "Falcon-7B": ({"bias": False}, "FalconForCausalLM(FalconConfig)", 6_921_720_704),
    "BLOOM-7b1": ({"n_layer": 30, "hidden_size": 4096, "n_head": 32}, "BloomForCausalLM(BloomConfig)", 7_069_016_064),
    "Mixtral-8x7B": ({}, "MixtralForCausalLM(MixtralConfig)", 46_702_792_704),
    "DeepSeek-V3": ({}, "DeepseekV3ForCausalLM(DeepseekV3Config)", 671_026_404_352),
    "gpt-oss-120b": ({}, "GptOssForCausalLM(GptOssConfig)", 116_829_156_672),
}
# MosaicML's table of throughput gives sizes only; the closed form is V h + s h + L (12 h^2 + 13 h) + 2 h.
COLUMNS = {
    "model": "MPT-350m", "n_layers": "24", "hidden": "1024", "heads": "16", "kv_heads": "16", "head_dim": "64",
    "ffn_hidden": "4096", "ffn_kind": "gelu", "vocab": "50368", "max_pos": "2048", "position": "learned", "tied": "yes",
    "published_params": "355985408",
}  # fmt: skip


def table(path: Path, *rows: dict[str, str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def row(name: str, figure: str | None = None) -> dict[str, str]:
    config, made_by, count = MODELS[name]
    return {
        "model": name,
        "config_json": json.dumps(config),
        "how_computed": f"{made_by} on meta",
        "computed_params": str(count) if figure is None else figure,
    }


def test_published_models_are_counted_as_others_count_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path / "models.csv", *map(row, MODELS), COLUMNS)
    code = parameters.main([path])
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert shown.endswith("\n7 of 7 equal\n")


def test_a_figure_is_compared_to_the_digits_that_it_has(tmp_path: Path) -> None:
    for figure, code in (("671B", 0), ("671.03B", 0), ("671.02B", 1), ("671,026,404,352", 0), ("some", 1), ("", 1)):
        assert parameters.main([table(tmp_path / "one.csv", row("DeepSeek-V3", figure))]) == code, figure


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"config_json": '{"activation_function": "mish"}'}, '`activation_function: "mish"`'),
        ({"config_json": "{"}, "no JSON"),
        ({"how_computed": "", "model": "Mystery-7B"}, "names a family that is known"),
    ],
)
def test_a_row_that_cannot_be_expressed_says_why(
    changes: dict[str, str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parameters.main([table(tmp_path / "one.csv", {**row("GPT-2 large"), **changes})]) == 1
    assert why in capsys.readouterr().out


def test_the_family_follows_from_the_name_where_nothing_else_says_it(tmp_path: Path) -> None:
    named = {**row("GPT-2 large"), "how_computed": "", "hf_id": "openai-community/gpt2-large"}
    assert parameters.main([table(tmp_path / "one.csv", named)]) == 0
