"""Latent attention of the generated model against DeepSeek's in transformers."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from specc.kinds.attention.mla import Mla
from tests import compiling
from tests.backends.test_model import copy

LENGTHS = (1, 17, 64)
SIZES = "num_heads: 4, kv_lora_rank: 24, qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 12"
RENAMED = (
    ("model.", ""),
    ("embed_tokens", "embedding"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn", "attention"),
    ("kv_a_proj_with_mqa", "kv_a_proj"),
    ("a_layernorm", "a_norm"),
    ("mlp", "ffn"),
)
ORIGINAL = 16
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL, "beta_fast": 4.0}


def deepseek(version: int, **settings: Any) -> nn.Module:
    """A small DeepSeek-V2 or -V3 without experts, with weights of the size of trained ones."""
    from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

    config, judge = {
        2: (DeepseekV2Config, DeepseekV2ForCausalLM),
        3: (DeepseekV3Config, DeepseekV3ForCausalLM),
    }[version]
    sizes = {
        "vocab_size": 257, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2,
        "first_k_dense_replace": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "kv_lora_rank": 24,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 64, "attn_implementation": "eager",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }  # fmt: skip
    torch.manual_seed(0)
    model = judge(config(**{**sizes, **settings})).eval()
    for value in model.parameters():
        nn.init.normal_(value, std=0.2)
    return model


def renamed(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """DeepSeek's weights under our names; the rotary tables are no parameters."""
    weights = {}
    for name, value in theirs.items():
        for old, new in RENAMED:
            name = name.replace(old, new)
        weights[name] = value
    return weights


def ours(folder: Path, judge: nn.Module, *, layout: str, attention: str = "", position: str = "") -> ModuleType:
    """The generated module, and under `model` its model with the judge's weights."""
    generated = compiling.model(
        folder,
        f"model.attention={{kind: mla, {SIZES}{attention}}}",
        f"model.position={{kind: rope, layout: {layout}{position}}}",
        "model.norm={kind: rmsnorm, eps: 1e-5}",
        "model.tie_embeddings=false",
        "model.context_length=64",
    )
    generated.model = generated.Model().eval()
    copy(generated.model, renamed(judge.state_dict()))
    return generated


def hold(model: nn.Module, judge: nn.Module) -> None:
    for length in LENGTHS:
        ids = torch.randint(0, 257, (2, length))
        with torch.no_grad():
            torch.testing.assert_close(model(ids), judge(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rank", [None, 20])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize(("version", "interleaved"), [(2, True), (3, True), (3, False)])
def test_logits_and_gradients_equal_those_of_deepseek(
    version: int, interleaved: bool, kernel: str, rank: int | None, bias: bool, tmp_path: Path
) -> None:
    """V2 turns neighbours as complex numbers; V3 has them written either way."""
    turned = {"rope_interleave": interleaved} if version == 3 else {}
    judge = deepseek(version, q_lora_rank=rank, attention_bias=bias, **turned)
    attention = f", q_lora_rank: {rank or 'null'}, bias: {str(bias).lower()}, kernel: {kernel}"
    layout = "interleaved" if interleaved else "half_split"
    model = ours(tmp_path, judge, layout=layout, attention=attention).model
    hold(model, judge)
    ids = torch.randint(0, 257, (2, 33))
    judge(ids).logits.logsumexp(-1).mean().backward()
    model(ids).logsumexp(-1).mean().backward()
    expected = renamed({name: value.grad for name, value in judge.named_parameters()})
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.grad, expected[name], atol=1e-5, rtol=1e-4)


def grown(factor: float, multiplier: float) -> float:
    """YaRN's growth of queries and keys with DeepSeek's multiplier of its logarithm (its `yarn_get_mscale`)."""
    return 0.1 * multiplier * math.log(factor) + 1.0


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("mscale", "all_dim"), [(1.0, 1.0), (0.707, 0.707), (0.707, 1.0), (1.0, None), (None, 0.5), (None, None)]
)
def test_deepseeks_two_multipliers_of_yarn_are_its_attention_factor_and_a_scale(
    version: int, mscale: float | None, all_dim: float | None, tmp_path: Path
) -> None:
    given = {"mscale": mscale, "mscale_all_dim": all_dim}
    multipliers = {name: value for name, value in given.items() if value is not None}
    judge = deepseek(version, q_lora_rank=20, rope_parameters={**YARN, "rope_theta": 10000.0, **multipliers})
    factor = grown(4.0, mscale) / grown(4.0, all_dim) if mscale and all_dim else grown(4.0, 1.0)
    scale = grown(4.0, all_dim) ** 2 / math.sqrt(24) if all_dim else "auto"
    scaling = f"{{kind: yarn, factor: 4, beta_fast: 4, attention_factor: {factor}}}"
    position = f", original_context_length: {ORIGINAL}, scaling: {scaling}"
    attention = f", q_lora_rank: 20, scale: {scale}"
    hold(ours(tmp_path, judge, layout="interleaved", attention=attention, position=position).model, judge)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("rank", ["null", "20"])
def test_decoding_from_latents_token_by_token_equals_the_full_pass(kernel: str, rank: str, tmp_path: Path) -> None:
    judge = deepseek(2, q_lora_rank=None if rank == "null" else 20)
    attention = f", q_lora_rank: {rank}, kernel: {kernel}"
    generated = ours(tmp_path, judge, layout="interleaved", attention=attention)
    ids = torch.randint(0, 257, (2, 64))
    cache = generated.Cache(2, 64, next(generated.model.parameters()))
    with torch.no_grad():
        steps = [generated.model(ids[:, t : t + 1], cache) for t in range(64)]
        expected = judge(ids).logits
    torch.testing.assert_close(torch.cat(steps, dim=1), expected, atol=1e-5, rtol=1e-5)


def test_the_cache_holds_latents_and_the_shared_key_and_nothing_else(tmp_path: Path) -> None:
    plan = compiling.planned(f"model.attention={{kind: mla, {SIZES}}}", "model.position={kind: rope}")
    generated = compiling.module(compiling.files(plan)["model.py"], tmp_path)
    cache = generated.Cache(3, 10, torch.zeros(()))
    held = [value for value in vars(cache).values() if isinstance(value, Tensor)]
    assert sorted(tuple(value.shape) for value in held) == [(2, 3, 10, 8), (2, 3, 10, 24)]
    assert sum(value.numel() for value in held) == 3 * 10 * plan.experiment.model.kv_cache_values_per_token


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_half_precision_makes_finite_logits_and_gradients(kernel: str, tmp_path: Path) -> None:
    judge = deepseek(2, q_lora_rank=20)
    model = ours(tmp_path, judge, layout="interleaved", attention=f", q_lora_rank: 20, kernel: {kernel}").model
    ids = torch.randint(0, 257, (2, 64))
    with torch.no_grad():
        exact = model(ids)
    model = model.to(torch.bfloat16)
    logits = model(ids)
    logits.float().logsumexp(-1).mean().backward()
    assert all(torch.isfinite(value.grad).all() for value in model.parameters())
    assert (logits.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_latents_have_a_norm_class_of_their_own_only_where_it_differs() -> None:
    def classes(norm: str) -> list[str]:
        attention = f"model.attention={{kind: mla, {SIZES}, norm_eps: 1e-6}}"
        text = compiling.files(compiling.planned(attention, "model.position={kind: rope}", f"model.norm={norm}"))
        return [line for line in text["model.py"].splitlines() if line.startswith("class") and "Norm" in line]

    assert classes("{kind: rmsnorm, eps: 1e-6}") == ["class RMSNorm(nn.Module):"]
    assert classes("{kind: rmsnorm, eps: 1e-5}") == ["class RMSNorm(nn.Module):", "class LatentNorm(nn.Module):"]
    assert classes("{kind: layernorm}") == ["class LayerNorm(nn.Module):", "class LatentNorm(nn.Module):"]


@pytest.mark.parametrize(("name", "mscale", "scale"), [("v2", 0.707, 0.114721), ("v3", 1.0, 0.135234)])
def test_the_scales_of_deepseek_are_those_of_its_page(name: str, mscale: float, scale: float) -> None:
    """The released configurations: a factor of 40 and heads of 128 + 64; V2 has 0.707 twice, V3 has 1.0 twice."""
    from transformers.models.deepseek_v2 import modeling_deepseek_v2
    from transformers.models.deepseek_v3 import modeling_deepseek_v3

    judge = {"v2": modeling_deepseek_v2, "v3": modeling_deepseek_v3}[name].yarn_apply_mscale
    released = {"rope_type": "yarn", "factor": 40, "mscale": mscale, "mscale_all_dim": mscale}
    assert judge(released, 192**-0.5) == pytest.approx(scale, abs=1e-6)
    assert judge(released, 192**-0.5) == pytest.approx(grown(40, mscale) ** 2 / math.sqrt(192))
    assert str(scale) in str(Mla.__doc__)
