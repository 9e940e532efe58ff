"""Layers with a window turn queries and keys by a base of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import compiling
from tests.backends.test_scores import LLAMA, renamed, spread

PATTERN = {"L": "sliding_attention", "G": "full_attention"}
HEADS = "kind: gqa, num_heads: 4, num_kv_heads: 2, window: 8"


def judge_with_two_rotations(pattern: str) -> nn.Module:
    """Qwen 2, whose layers take cosine and sine from the rotation of Gemma 3, each by its type."""
    from transformers import Gemma3TextConfig, Qwen2Config, Qwen2ForCausalLM
    from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

    types = [PATTERN[letter] for letter in pattern]
    values = {name: value for name, value in LLAMA.items() if name != "head_dim"}
    config = Qwen2Config(
        **{**values, "num_hidden_layers": len(types)}, use_sliding_window=True, sliding_window=8, layer_types=types
    )
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
    }
    sizes = {"hidden_size": 64, "num_hidden_layers": len(types), "num_attention_heads": 4, "head_dim": 16}
    gemma = Gemma3TextConfig(**sizes, layer_types=types, rope_parameters=rope)
    rotation = Gemma3RotaryEmbedding(gemma)
    model = Qwen2ForCausalLM(config).eval()
    for layer, kind in zip(model.model.layers, types, strict=True):
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.self_attn, name).bias = None

        def turned(
            _: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], kind: str = kind
        ) -> tuple[tuple[Tensor, ...], dict[str, object]]:
            places = torch.arange(inputs[0].shape[1])[None]
            return inputs, {**named, "position_embeddings": rotation(inputs[0], places, kind)}

        layer.register_forward_pre_hook(turned, with_kwargs=True)
    return model


@pytest.mark.parametrize(("pattern", "turns"), [("LLGLLG", "(near, near, far) * 2"), ("LG", "(near, far)")])
def test_layers_with_a_window_are_turned_as_in_gemma3_in_transformers(pattern: str, turns: str, tmp_path: Path) -> None:
    judge = judge_with_two_rotations(pattern)
    spread(judge)
    sets = (
        f"model.num_layers={len(pattern)}",
        "model.tie_embeddings=false",
        f"model.attention={{{HEADS}, pattern: {pattern}}}",
        "model.position={kind: rope, rope_theta: 1e5, local_rope_theta: 100, original_context_length: 32, "
        "scaling: {kind: linear, factor: 4}}",
    )
    text = compiling.files(compiling.planned(*sets))["model.py"]
    assert f"for block, turn in zip(self.layers, {turns}, strict=True):" in text
    model = compiling.module(text, tmp_path).Model().eval()
    model.load_state_dict(renamed(judge.state_dict()), strict=True)
    ids = torch.randint(0, 257, (2, 100))
    with torch.no_grad():
        torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)
