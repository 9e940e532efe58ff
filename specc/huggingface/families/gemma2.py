"""Gemma 2 (Gemma Team 2024, arXiv:2408.00118)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.families.gemma import ONE_WAY
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 256000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
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
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "layer_types": None,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "use_bidirectional_attention": None,
}


def read(config: Config) -> Section:
    """The `model:` section: norms on both sides of a part, windows in every other layer, scores and logits bounded."""
    every_other = tuple(rope.GLOBAL if index % 2 else rope.LOCAL for index in range(config["num_hidden_layers"]))
    return parts.decoder(
        {
            **parts.sizes(config),
            "embedding": {"multiplier": "sqrt_hidden_size"},
            "norm_placement": "sandwich",
            "attention": parts.llama_attention(
                config,
                bias="all" if config["attention_bias"] else "none",
                scale=scale(config),
                logit_softcap=config["attn_logit_softcapping"],
                **parts.windows(config["layer_types"] or every_other, config["sliding_window"]),
            ),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"], "unit_offset": True},
            "ffn": parts.llama_ffn(config, key="hidden_activation"),
            "head": parts.head(softcap=config["final_logit_softcapping"]),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides; a block has four norms."""
    return layers.whole(config, layer(config))


def layer(config: Config) -> tuple[Move, ...]:
    """The moves of one layer."""
    return (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=config["attention_bias"], o_bias=config["attention_bias"]),
        *layers.norm("post_attention_layernorm", "attention_output_norm"),
        *layers.norm("pre_feedforward_layernorm", "ffn_norm"),
        *layers.gated_ffn(),
        *layers.norm("post_feedforward_layernorm", "ffn_output_norm"),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    attention = model["attention"]
    return {
        **parts.their_sizes(model),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_activation": parts.activation(model["ffn"]),
        "query_pre_attn_scalar": pre_scalar(model),
        "attn_logit_softcapping": attention.get("logit_softcap"),
        "final_logit_softcapping": model.get("head", {}).get("softcap"),
        **({} if attention.get("window") is None else {"sliding_window": attention["window"]}),
        "layer_types": parts.layer_types(model),
        "attention_bias": attention.get("bias", "none") == "all",
        "attention_dropout": parts.dropped(model, "attention"),
    }


def scale(config: Config) -> float | str:
    """What scores are multiplied by: one over the root of `query_pre_attn_scalar`."""
    scalar = config["query_pre_attn_scalar"]
    return "auto" if scalar == config["head_dim"] else float(scalar**-0.5)


def pre_scalar(model: Mapping[str, Any]) -> int:
    """The inverse of `scale`, to the whole number that the class wants."""
    written = model["attention"].get("scale", "auto")
    return parts.head_dim(model) if written == "auto" else round(written**-2)


GEMMA2 = Family(
    "gemma2",
    ("Gemma2ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={"use_bidirectional_attention": ONE_WAY},
    neutral=frozenset({"hidden_act", "cache_implementation"}),
    nullable=frozenset({"sliding_window", "final_logit_softcapping", "attn_logit_softcapping"}),
    ignored=layers.OLD_BUFFERS,
)
