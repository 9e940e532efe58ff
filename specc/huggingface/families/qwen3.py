"""Qwen3 (Yang et al. 2025, arXiv:2505.09388)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.families.qwen2 import windows, write_windows
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "layer_types": None,
    "attention_dropout": 0.0,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def read(config: Config) -> Section:
    """The `model:` section: queries and keys are normed, all heads by one weight."""
    norm = {"kind": "rmsnorm", "eps": config["rms_norm_eps"]}
    bias = "all" if config["attention_bias"] else "none"
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, bias=bias, qk_norm=norm, **windows(config)),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": norm,
            "ffn": parts.llama_ffn(config),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=config["attention_bias"], o_bias=config["attention_bias"]),
        *layers.qk_norm(),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
        *layers.gated_ffn(),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    return {
        **parts.their_sizes(model),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "attention_bias": model["attention"].get("bias", "none") == "all",
        "attention_dropout": parts.dropped(model, "attention"),
        **write_windows(model),
    }


QWEN3 = Family(
    "qwen3",
    ("Qwen3ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    nullable=frozenset({"sliding_window", "num_key_value_heads"}),
    ignored=layers.OLD_BUFFERS,
)
