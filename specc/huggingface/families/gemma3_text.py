"""The language model of Gemma 3 (Gemma Team 2025, arXiv:2503.19786)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.families.gemma import ONE_WAY
from specc.huggingface.families.gemma2 import layer, pre_scalar, scale
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 131072,
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
    "final_logit_softcapping": None,
    "attn_logit_softcapping": None,
    "use_bidirectional_attention": False,
}

_PERIOD = 6
"""One layer in so many sees the whole past."""


def read(config: Config) -> Section:
    """The `model:` section: Gemma 2 with norms of queries and keys, and a base of their own in windowed layers."""
    norm = {"kind": "rmsnorm", "eps": config["rms_norm_eps"], "unit_offset": True}
    return parts.decoder(
        {
            **parts.sizes(config),
            "embedding": {"multiplier": "sqrt_hidden_size"},
            "norm_placement": "sandwich",
            "attention": parts.llama_attention(
                config,
                bias="all" if config["attention_bias"] else "none",
                qk_norm=norm,
                scale=scale(config),
                **parts.windows(config["layer_types"] or _layer_types(config), config["sliding_window"]),
            ),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": norm,
            "ffn": parts.llama_ffn(config, key="hidden_activation"),
            "head": parts.head(softcap=config["final_logit_softcapping"]),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides; a block has four norms, its attention two."""
    return layers.whole(config, (*layer(config), *layers.qk_norm()))


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    attention = model["attention"]
    return {
        **parts.their_sizes(model),
        "rope_parameters": rope.parameters(model["position"], always_local=True),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_activation": parts.activation(model["ffn"]),
        "query_pre_attn_scalar": pre_scalar(model),
        "final_logit_softcapping": model.get("head", {}).get("softcap"),
        **({} if attention.get("window") is None else {"sliding_window": attention["window"]}),
        "layer_types": parts.layer_types(model),
        "attention_bias": attention.get("bias", "none") == "all",
        "attention_dropout": parts.dropped(model, "attention"),
    }


def _layer_types(config: Config) -> tuple[str, ...]:
    written = config["sliding_window_pattern"]
    period = _PERIOD if written is None else written
    if period < 1:
        raise Unspoken(("sliding_window_pattern",), period, "it is 1 or more")
    count = config["num_hidden_layers"]
    return tuple(rope.LOCAL if (index + 1) % period else rope.GLOBAL for index in range(count))


GEMMA3_TEXT = Family(
    "gemma3_text",
    ("Gemma3ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(theta=1_000_000.0, local_theta=10_000.0),
    only={
        "use_bidirectional_attention": ONE_WAY,
        "attn_logit_softcapping": Only((None,), "the class does not bound scores, whatever its config says"),
    },
    # What the list of layers was made from, written beside it.
    neutral=frozenset({"_sliding_window_pattern", "cache_implementation", "hidden_act"}),
    nullable=frozenset({"sliding_window"}),
    old_keys={"sliding_window_pattern": int},
    ignored=layers.OLD_BUFFERS,
)
