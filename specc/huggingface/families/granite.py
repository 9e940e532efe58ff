"""Granite 3 (Granite Team 2024, https://github.com/ibm-granite/granite-3.0-language-models)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "embedding_multiplier": 1.0,
    "logits_scaling": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
}


def read(config: Config) -> Section:
    """The `model:` section: Llama with four multipliers."""
    return parts.decoder(
        {
            **parts.sizes(config),
            "embedding": parts.embedding(multiplier=float(config["embedding_multiplier"])),
            "residual_multiplier": float(config["residual_multiplier"]),
            "attention": parts.llama_attention(
                config, bias="all" if config["attention_bias"] else "none", scale=float(config["attention_multiplier"])
            ),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": parts.llama_ffn(config, bias=config["mlp_bias"]),
            "head": parts.head(multiplier=parts.inverse(config, "logits_scaling")),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=config["attention_bias"], o_bias=config["attention_bias"]),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
        *layers.gated_ffn(bias=config["mlp_bias"]),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    attention = model["attention"]
    scale = attention.get("scale", "auto")
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "attention_bias": attention.get("bias", "none") == "all",
        "mlp_bias": model["ffn"].get("bias", False),
        "embedding_multiplier": model.get("embedding", {}).get("multiplier", 1.0),
        "residual_multiplier": model.get("residual_multiplier", 1.0),
        "attention_multiplier": parts.head_dim(model) ** -0.5 if scale == "auto" else scale,
        "logits_scaling": parts.inverted(model.get("head", {}).get("multiplier", 1.0)),
        "attention_dropout": parts.dropped(model, "attention"),
    }


GRANITE = Family(
    "granite",
    ("GraniteForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
