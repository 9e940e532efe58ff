"""Gemma (Gemma Team 2024, arXiv:2403.08295)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 256000,
    "hidden_size": 3072,
    "intermediate_size": 24576,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 8192,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "tie_word_embeddings": True,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "use_bidirectional_attention": None,
}

ONE_WAY = Only((None, False), "a model that reads both ways is an encoder, and `generate` needs one that does not")


def read(config: Config) -> Section:
    """The `model:` section: norms multiply by 1 + w, tokens by the root of the width."""
    # Its first configs said `gelu` and meant the approximation, and the class reads them so.
    activation = "gelu_pytorch_tanh" if config["hidden_act"] == "gelu" else config["hidden_act"]
    return parts.decoder(
        {
            **parts.sizes(config),
            "embedding": {"multiplier": "sqrt_hidden_size"},
            "attention": parts.llama_attention(config, bias="all" if config["attention_bias"] else "none"),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"], "unit_offset": True},
            "ffn": {**parts.gated(activation, "hidden_act"), "intermediate_size": config["intermediate_size"]},
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=config["attention_bias"], o_bias=config["attention_bias"]),
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
    }


GEMMA = Family(
    "gemma",
    ("GemmaForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={"use_bidirectional_attention": ONE_WAY},
    # Read by older classes; this one looks at `hidden_act` alone.
    neutral=frozenset({"hidden_activation"}),
    ignored=layers.OLD_BUFFERS,
)
