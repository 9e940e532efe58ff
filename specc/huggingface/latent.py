"""Multi-head latent attention as DeepSeek's configs say it: its section, its tensors, YaRN's growth of the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts, rope
from specc.huggingface.family import Config, Section
from specc.huggingface.layers import LAYER, OURS, norm
from specc.huggingface.tensors import Move, linear
from specc.huggingface.unspoken import Unspoken

ATTENTION: Mapping[str, Any] = {"q_lora_rank": None, "bias": False, "scale": "auto", "norm_eps": 1e-6}
"""Keys of `attention` of kind `mla` with the value that they have when nobody writes them."""


def attention(config: Config) -> Section:
    """The `attention` section."""
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    if kv_heads not in (None, heads):
        raise Unspoken(("num_key_value_heads",), kv_heads, f"each of the {heads} heads has its keys from the latent")
    rest = {"q_lora_rank": config["q_lora_rank"], "bias": config["attention_bias"], "scale": _scale(config)}
    return {
        "kind": "mla",
        "num_heads": heads,
        "kv_lora_rank": config["kv_lora_rank"],
        "qk_nope_head_dim": config["qk_nope_head_dim"],
        "qk_rope_head_dim": config["qk_rope_head_dim"],
        "v_head_dim": config["v_head_dim"],
        **parts.differing(rest, ATTENTION),
    }


def moves(config: Config) -> tuple[Move, ...]:
    """Biases are on the two projections down and on the output only (DeepseekV3Attention)."""
    bias, base, ours = config["attention_bias"], f"{LAYER}.self_attn", f"{OURS}.attention"
    queries = (
        linear(f"{base}.q_proj", f"{ours}.q_proj", bias=False)
        if config["q_lora_rank"] is None
        else (
            *linear(f"{base}.q_a_proj", f"{ours}.q_a_proj", bias=bias),
            *norm("self_attn.q_a_layernorm", "attention.q_a_norm"),
            *linear(f"{base}.q_b_proj", f"{ours}.q_b_proj", bias=False),
        )
    )
    return (
        *queries,
        *linear(f"{base}.kv_a_proj_with_mqa", f"{ours}.kv_a_proj", bias=bias),
        *norm("self_attn.kv_a_layernorm", "attention.kv_a_norm"),
        *linear(f"{base}.kv_b_proj", f"{ours}.kv_b_proj", bias=False),
        *linear(f"{base}.o_proj", f"{ours}.o_proj", bias=bias),
    )


def written(model: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of a config for the attention, the angles and the sizes of a model section. KeyError for another kind."""
    attention = {**ATTENTION, **model["attention"]}
    if attention["kind"] != "mla":
        raise KeyError(f"`attention.kind: {attention['kind']}` has no latent")
    ranks = ("kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    return {
        "hidden_size": model["hidden_size"],
        "num_hidden_layers": model["num_layers"],
        "max_position_embeddings": model["context_length"],
        "vocab_size": model["vocab_size"],
        "tie_word_embeddings": model["tie_embeddings"],
        "num_attention_heads": attention["num_heads"],
        "num_key_value_heads": attention["num_heads"],
        **{key: attention[key] for key in ranks},
        "attention_bias": attention["bias"],
        "attention_dropout": model.get("dropout", {}).get("attention", 0.0),
        "rms_norm_eps": model["norm"]["eps"],
        "rope_parameters": _parameters(model["position"], attention),
    }


def _scale(config: Config) -> float | str:
    """YaRN's growth, squared, times the usual scale (yarn_apply_mscale; DeepSeek-V2's `softmax_scale`)."""
    angles = config["rope_parameters"]
    mscale = angles.get("mscale_all_dim")
    if angles["rope_type"] == "default" or not mscale:
        return "auto"
    factor = angles.get("factor")
    if not isinstance(factor, int | float):
        raise Unspoken(("rope_parameters", "factor"), factor, "with `mscale_all_dim` it is a number")
    grown = rope.grown(factor, mscale)
    return float(_plain(config) * grown * grown)


def _plain(sizes: Mapping[str, Any]) -> float:
    return float((sizes["qk_nope_head_dim"] + sizes["qk_rope_head_dim"]) ** -0.5)


def _parameters(position: Mapping[str, Any], attention: Mapping[str, Any]) -> dict[str, Any]:
    """`rope_parameters` with the growth of the scores as `mscale_all_dim`, and that of the angles as `mscale`."""
    parameters = rope.parameters(position)
    if attention["scale"] == "auto":
        return parameters
    if parameters["rope_type"] != "yarn":
        raise KeyError("`attention.scale` follows from YaRN or is the usual one")
    factor = parameters["factor"]
    grown = math.sqrt(attention["scale"] / _plain(attention))
    amplitude = parameters.pop("attention_factor", rope.grown(factor, 1.0))
    # Nine digits: what a config says has few, and the square root and the logarithm lose the last.
    all_dim, one = (round((growth - 1) / (0.1 * math.log(factor)), 9) for growth in (grown, amplitude * grown))
    return {**parameters, "mscale": one, "mscale_all_dim": all_dim}
