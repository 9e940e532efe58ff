"""Bottlenecks after the parts of a block."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from runners.init import initialise
from tests import compiling

SMALL = ("model.hidden_size=32", "model.context_length=32")
FRAMES = (
    "norm_placement=pre",
    "norm_placement=post",
    "norm_placement=sandwich",
    "norm_placement=output",
    "residual=parallel",
    "residual=parallel_two_norms",
)


def initialised(folder: Path, *sets: str) -> nn.Module:
    """The generated model with the weights that its program starts from."""
    texts = compiling.files(compiling.planned(*SMALL, *sets))
    program = compiling.module(texts["train.py"].replace("from model import Cache, Model", ""), folder, "program")
    model: nn.Module = compiling.module(texts["model.py"], folder).Model()
    initialise(model, program.INITIALISATION, 1)
    return model


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("spec", ["{size: 8}", "{after: [ffn], size: 8, activation: relu}"])
def test_a_model_starts_as_the_one_without_and_has_what_was_said(frame: str, spec: str, tmp_path: Path) -> None:
    sets = (f"model.{frame}", f"model.adapters={spec}")
    lowered = compiling.planned(*SMALL, *sets).experiment.model
    model, without = initialised(tmp_path, *sets), initialised(tmp_path, f"model.{frame}")
    said = [(weight.name, weight.sizes) for weight in lowered.weights()]
    assert said == [(name, tuple(value.shape)) for name, value in model.named_parameters()]
    assert lowered.parameters == sum(value.numel() for value in model.parameters())
    ids = torch.randint(0, 257, (2, 9))
    assert torch.equal(model(ids), without(ids))
    for name, value in model.named_parameters():
        if "_adapter.up_proj" in name:
            nn.init.normal_(value)
    assert not torch.allclose(model(ids), without(ids))
    # Fused attention on a CPU is not counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(3, 32, dtype=torch.long))
    assert counter.get_total_flops() == 3 * 32 * lowered.forward_flops_per_token(32)


def test_an_adapter_stands_between_its_part_and_the_sum(tmp_path: Path) -> None:
    # Houlsby et al. 2019, figure 2, with norms before the parts.
    model = initialised(tmp_path, "model.adapters={size: 8}", "model.num_layers=1", "model.position={kind: none}")
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    ids = torch.randint(0, 257, (2, 9))
    weights, block = dict(model.named_parameters()), model.get_submodule("layers.0")

    def adapted(name: str, x: torch.Tensor) -> torch.Tensor:
        prefix = f"layers.0.{name}_adapter"
        down = F.linear(x, weights[f"{prefix}.down_proj.weight"], weights[f"{prefix}.down_proj.bias"])
        return x + F.linear(F.gelu(down), weights[f"{prefix}.up_proj.weight"], weights[f"{prefix}.up_proj.bias"])

    x = weights["embedding.weight"][ids]
    x = x + adapted("attention", block.attention(block.attention_norm(x), None))
    x = x + adapted("ffn", block.ffn(block.ffn_norm(x)))
    expected = F.linear(model.get_submodule("norm")(x), weights["embedding.weight"])
    torch.testing.assert_close(model(ids), expected, atol=1e-5, rtol=1e-5)


def test_a_model_without_adapters_says_nothing_of_them() -> None:
    assert "dapter" not in compiling.files(compiling.planned(*SMALL))["model.py"]
