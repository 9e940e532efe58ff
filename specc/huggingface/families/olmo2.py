"""OLMo 2 (OLMo et al. 2025, arXiv:2501.00656)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50304,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "use_cache": True,
    "pad_token_id": 1,
    "bos_token_id": None,
    "eos_token_id": 50279,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "rms_norm_eps": 1e-05,
}


def read(config: Config) -> Section:
    """The `model:` section: norms follow the parts of a block, queries and keys are normed as one vector each."""
    norm = {"kind": "rmsnorm", "eps": config["rms_norm_eps"]}
    bias = "all" if config["attention_bias"] else "none"
    return parts.decoder(
        {
            **parts.sizes(config),
            "norm_placement": "output",
            "attention": parts.llama_attention(config, bias=bias, qk_norm=norm, qk_norm_over="width"),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": norm,
            "ffn": parts.llama_ffn(config),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides."""
    layer = (
        *layers.attention(qkv_bias=config["attention_bias"], o_bias=config["attention_bias"]),
        *layers.qk_norm(),
        *layers.norm("post_attention_layernorm", "attention_output_norm"),
        *layers.gated_ffn(),
        *layers.norm("post_feedforward_layernorm", "ffn_output_norm"),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "attention_bias": model["attention"].get("bias", "none") == "all",
        "attention_dropout": parts.dropped(model, "attention"),
    }


OLMO2 = Family(
    "olmo2",
    ("Olmo2ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
