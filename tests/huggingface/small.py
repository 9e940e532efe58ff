"""Small models of transformers with weights drawn at random, in memory and on a disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from specc import huggingface
from tests.huggingface.cases import Case

STD = 0.2
"""The size of trained weights, so that logits are of ordinary size."""


def built(case: Case) -> transformers.PreTrainedModel:
    """The model of a case. Scores are computed step by step there: what is compared shares no kernel."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[case.model_type](**case.keywords)
    # Falcon's own steps add ALiBi twice in transformers 5.23: FalconModel puts it into the mask, FalconAttention again.
    config._attn_implementation = "sdpa" if getattr(config, "alibi", False) is True else "eager"
    architecture = case.architecture or huggingface.family(case.model_type).architectures[0]
    model = getattr(transformers, architecture)(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=STD)
    return model


def saved(case: Case, folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Config and tensors as transformers writes them to a disk."""
    built(case).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    with safe_open(folder / "model.safetensors", "pt") as file:
        return config, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
