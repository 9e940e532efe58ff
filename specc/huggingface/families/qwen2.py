"""Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv:2407.10671)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": None,
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
    """The `model:` section: queries, keys and values have biases."""
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, bias="qkv", **windows(config)),
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
        *layers.attention(qkv_bias=True, o_bias=False),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
        *layers.gated_ffn(),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "attention_dropout": parts.dropped(model, "attention"),
        **write_windows(model),
    }


def windows(config: Config) -> Section:
    """Window and pattern of Qwen: the first `max_window_layers` layers see all, where no list says otherwise."""
    window = config["sliding_window"] if config["use_sliding_window"] else None
    first = config["num_hidden_layers"] if window is None else config["max_window_layers"]
    of_layers = (rope.GLOBAL if index < first else rope.LOCAL for index in range(config["num_hidden_layers"]))
    return parts.windows(config["layer_types"] or tuple(of_layers), window)


def write_windows(model: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `windows`."""
    kinds = parts.layer_types(model)
    if rope.LOCAL not in kinds:
        return {"layer_types": kinds}
    window = {"use_sliding_window": True, "sliding_window": model["attention"]["window"]}
    return {**window, "max_window_layers": kinds.index(rope.LOCAL), "layer_types": kinds}


QWEN2 = Family(
    "qwen2",
    ("Qwen2ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={"use_mrope": Only((False, None), "positions have one dimension")},
    nullable=frozenset({"sliding_window", "num_key_value_heads"}),
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
