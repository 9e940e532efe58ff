"""Command R and R+ (Cohere 2024, https://huggingface.co/CohereForAI/c4ai-command-r-v01)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 256000,
    "hidden_size": 8192,
    "intermediate_size": 22528,
    "logit_scale": 0.0625,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": None,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "use_cache": True,
    "pad_token_id": 0,
    "bos_token_id": 5,
    "eos_token_id": 255001,
    "tie_word_embeddings": True,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "use_qk_norm": False,
}


def read(config: Config) -> Section:
    """The `model:` section: attention and feed-forward side by side after one norm, neighbours turned as pairs."""
    norm = {"kind": "layernorm", "eps": config["layer_norm_eps"], "bias": False}
    queries = {"qk_norm": norm, "qk_norm_over": "each_head"} if config["use_qk_norm"] else {}
    return parts.decoder(
        {
            **parts.sizes(config),
            "residual": "parallel",
            "attention": parts.llama_attention(config, bias="all" if config["attention_bias"] else "none", **queries),
            "position": {**rope.position(config, config["max_position_embeddings"]), "layout": "interleaved"},
            "norm": norm,
            "ffn": parts.llama_ffn(config),
            "head": parts.head(multiplier=float(config["logit_scale"])),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides; a block has one norm."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=config["attention_bias"], o_bias=config["attention_bias"]),
        *(layers.qk_norm() if config["use_qk_norm"] else ()),
        *layers.gated_ffn(),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    attention = model["attention"]
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(model["position"]),
        "layer_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "attention_bias": attention.get("bias", "none") == "all",
        "use_qk_norm": attention.get("qk_norm") is not None,
        "logit_scale": model.get("head", {}).get("multiplier", 1.0),
        "attention_dropout": parts.dropped(model, "attention"),
    }


COHERE = Family(
    "cohere",
    ("CohereForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(theta=500_000.0),
    # The length that its tokenizer is told, of which no table is made.
    neutral=frozenset({"model_max_length"}),
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
