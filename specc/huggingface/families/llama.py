"""Llama 2, 3 and 3.1 (Touvron et al. 2023, arXiv:2307.09288; Grattafiori et al. 2024, arXiv:2407.21783)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
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
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "head_dim": None,
}


def read(config: Config) -> Section:
    """The `model:` section."""
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, bias="all" if config["attention_bias"] else "none"),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": parts.llama_ffn(config, bias=config["mlp_bias"]),
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
    attention, ffn = model["attention"], model["ffn"]
    return {
        **parts.their_sizes(model),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(ffn),
        "attention_bias": attention.get("bias", "none") == "all",
        "mlp_bias": ffn.get("bias", False),
        "attention_dropout": parts.dropped(model, "attention"),
    }


LLAMA = Family(
    "llama",
    ("LlamaForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={"pretraining_tp": Only((1,), "products are cut in slices there, which adds in another order")},
    ignored=layers.OLD_BUFFERS,
)
