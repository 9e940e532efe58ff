"""Mistral 7B and those after it (Jiang et al. 2023, arXiv:2310.06825)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "sliding_window": 4096,
    "attention_dropout": 0.0,
}


def read(config: Config) -> Section:
    """The `model:` section: every layer has the window."""
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, window=config["sliding_window"]),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": parts.llama_ffn(config),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=False, o_bias=False),
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
        "sliding_window": model["attention"].get("window"),
        "attention_dropout": parts.dropped(model, "attention"),
    }


MISTRAL = Family(
    "mistral",
    ("MistralForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    nullable=frozenset({"sliding_window", "num_key_value_heads"}),
    ignored=layers.OLD_BUFFERS,
)
