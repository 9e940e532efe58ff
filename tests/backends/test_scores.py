"""Windows, softcaps, patterns and rotary scalings of the generated model against independent implementations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests import compiling
from tests.backends.test_model import copy

RENAMED = (
    ("model.", ""),
    ("embed_tokens", "embedding"),
    ("self_attn", "attention"),
    ("mlp", "ffn"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
)
LLAMA = {
    "vocab_size": 257,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}


def renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a Llama-like model under our names."""
    weights = {}
    for name, value in theirs.items():
        for old, new in RENAMED:
            name = name.replace(old, new)
        weights[name] = value
    return weights


def spread(model: nn.Module) -> None:
    torch.manual_seed(0)
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)


def hold(folder: Path, judge: nn.Module, *sets: str) -> None:
    """Logits of the generated model equal the judge's, at lengths on both sides of a window of 8."""
    spread(judge)
    generated = compiling.model(folder, "model.num_layers=4", "model.tie_embeddings=false", *sets)
    model = generated.Model().eval()
    copy(model, renamed(judge.state_dict()))
    for length in (1, 8, 9, 50, 128):
        ids = torch.randint(0, 257, (2, length))
        with torch.no_grad():
            torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_a_sliding_window_is_that_of_mistral_in_transformers(kernel: str, tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(**LLAMA, sliding_window=8)
    attention = f"{{kind: gqa, num_heads: 4, num_kv_heads: 2, window: 8, kernel: {kernel}}}"
    hold(tmp_path, MistralForCausalLM(config).eval(), f"model.attention={attention}")


def test_a_pattern_of_layers_is_that_of_qwen2_in_transformers(tmp_path: Path) -> None:
    """Qwen2 takes a list of layer types; its query, key and value projections have biases, set to zero here."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    kinds = ["sliding_attention", "full_attention"] * 2
    values = {name: value for name, value in LLAMA.items() if name != "head_dim"}
    config = Qwen2Config(**values, use_sliding_window=True, sliding_window=8, layer_types=kinds)
    judge = Qwen2ForCausalLM(config).eval()
    for layer in judge.model.layers:
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(layer.self_attn, name).bias = None
    hold(tmp_path, judge, "model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2, window: 8, pattern: LG}")


def test_a_softcap_on_the_scores_is_that_of_gemma2_in_transformers(tmp_path: Path) -> None:
    """The attention alone: Gemma 2 has norms and embeddings of its own."""
    from transformers import Gemma2Config
    from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention

    config = Gemma2Config(**LLAMA, query_pre_attn_scalar=16, attn_logit_softcapping=3.0, sliding_window=None)
    config.layer_types = ["full_attention"] * 4
    judge = Gemma2Attention(config, layer_idx=0).eval()
    spread(judge)
    attention = "{kind: gqa, num_heads: 4, num_kv_heads: 2, logit_softcap: 3.0, kernel: eager}"
    generated = compiling.model(tmp_path, f"model.attention={attention}")
    ours = generated.Attention(0).eval()
    ours.load_state_dict(judge.state_dict(), strict=True)
    x = torch.randn(2, 50, 64)
    cos, sin = generated.rotation(0, x)
    causal = generated.causal_bias(0, x)
    with torch.no_grad():
        theirs, _ = judge(x, position_embeddings=(cos[None], sin[None]), attention_mask=causal[None, None])
        torch.testing.assert_close(ours(x, cos, sin, causal, None), theirs, atol=1e-5, rtol=1e-5)
        uncapped = compiling.model(
            tmp_path, "model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2, kernel: eager}"
        )
        plain = uncapped.Attention(0).eval()
        plain.load_state_dict(judge.state_dict(), strict=True)
        assert not torch.allclose(plain(x, cos, sin, causal, None), theirs, atol=1e-2)


SCALINGS: dict[str, dict[str, Any]] = {
    "{kind: linear, factor: 4}": {"rope_type": "linear", "factor": 4.0},
    "{kind: yarn, factor: 4}": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    "{kind: llama3, factor: 8}": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_scaled_rotation_is_that_of_llama_in_transformers(scaling: str, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**LLAMA, rope_parameters={"rope_theta": 1e4, **SCALINGS[scaling]})
    position = f"{{kind: rope, original_context_length: 32, scaling: {scaling}}}"
    hold(tmp_path, LlamaForCausalLM(config).eval(), f"model.position={position}")


# Published settings: Llama 3.1 8B, and Qwen2.5-7B-Instruct with YaRN as its model card says.
PUBLISHED: tuple[tuple[str, int, float, dict[str, Any]], ...] = (
    (
        "{kind: llama3, factor: 8}",
        8192,
        5e5,
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    ),
    ("{kind: yarn, factor: 4}", 32768, 1e6, {"rope_type": "yarn", "factor": 4.0}),
    ("{kind: linear, factor: 16}", 2048, 1e4, {"rope_type": "linear", "factor": 16.0}),
)


@pytest.mark.parametrize(("scaling", "original", "theta", "theirs"), PUBLISHED)
def test_frequencies_are_those_of_transformers_for_published_models(
    scaling: str, original: int, theta: float, theirs: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    longer = original * 8
    parameters = {**theirs, "rope_theta": theta, "original_max_position_embeddings": original}
    config = LlamaConfig(
        hidden_size=512, num_attention_heads=4, head_dim=128, max_position_embeddings=longer, rope_parameters=parameters
    )
    expected, growth = ROPE_INIT_FUNCTIONS[theirs["rope_type"]](config, torch.device("cpu"))
    generated = compiling.model(
        tmp_path,
        "model.attention={kind: gqa, num_heads: 4, num_kv_heads: 2, head_dim: 128}",
        f"model.position={{kind: rope, rope_theta: {theta}, original_context_length: {original}, scaling: {scaling}}}",
    )
    torch.testing.assert_close(generated.frequencies(torch.device("cpu")), expected, atol=0, rtol=1e-5)
    cos, _ = generated.rotation(0, torch.zeros(1, 1, 512))
    assert math.isclose(cos[0, 0].item(), growth, rel_tol=1e-6)


@pytest.mark.parametrize(("softcap", "bytes_each"), [("null", 6), ("3.0", 8)])
def test_the_eager_kernel_keeps_the_scores_that_it_says(softcap: str, bytes_each: int, tmp_path: Path) -> None:
    attention = f"{{kind: mha, num_heads: 4, kernel: eager, logit_softcap: {softcap}}}"
    sets = (f"model.attention={attention}", "model.context_length=64")
    part = compiling.planned(*sets).experiment.model.layers[0].part("attention")
    said = sum(saved.per_token * (saved.bytes_each or 2) for saved in part.saved if saved.what == "scores")
    generated = compiling.model(tmp_path, *sets)
    ours = generated.Attention(0).to(torch.bfloat16)
    x = torch.randn(1, 64, 64, dtype=torch.bfloat16)
    rotation, causal = generated.rotation(0, x), generated.causal_bias(0, x)
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        if value.shape[-2:] == (64, 64) and value.numel() == 4 * 64 * 64:
            kept[value.data_ptr()] = value.nbytes
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        result = ours(x, *rotation, causal, None)
    assert sum(kept.values()) == 64 * said == bytes_each * 4 * 64 * 64
    assert result.requires_grad
