"""StarCoder2 (Lozhkov et al. 2024, arXiv:2402.19173)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 3072,
    "intermediate_size": 12288,
    "num_hidden_layers": 30,
    "num_attention_heads": 24,
    "num_key_value_heads": 2,
    "hidden_act": "gelu_pytorch_tanh",
    "max_position_embeddings": 4096,
    "initializer_range": 0.018042,
    "norm_epsilon": 1e-05,
    "use_cache": True,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "pad_token_id": None,
    "rope_parameters": None,
    "sliding_window": None,
    "attention_dropout": 0.0,
    "residual_dropout": 0.0,
    "embedding_dropout": 0.0,
    "use_bias": True,
    "tie_word_embeddings": True,
}


def read(config: Config) -> Section:
    """The `model:` section: layer norms, biases, one window for all layers."""
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(
                config, bias="all" if config["use_bias"] else "none", window=config["sliding_window"]
            ),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "layernorm", "eps": config["norm_epsilon"]},
            "ffn": parts.two_matrices(
                config["hidden_act"], "hidden_act", config["intermediate_size"], bias=config["use_bias"]
            ),
            "dropout": parts.dropout(
                embedding=config["embedding_dropout"],
                attention=config["attention_dropout"],
                residual=config["residual_dropout"],
            ),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm", bias=True),
        *layers.attention(qkv_bias=config["use_bias"], o_bias=config["use_bias"]),
        *layers.norm("post_attention_layernorm", "ffn_norm", bias=True),
        *layers.plain_ffn("mlp.c_fc", "mlp.c_proj", bias=config["use_bias"]),
    )
    return layers.whole(config, layer, bias=True)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(model["position"]),
        "norm_epsilon": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "use_bias": model["ffn"].get("bias", False),
        "sliding_window": model["attention"].get("window"),
        "embedding_dropout": parts.dropped(model, "embedding"),
        "attention_dropout": parts.dropped(model, "attention"),
        "residual_dropout": parts.dropped(model, "residual"),
    }


STARCODER2 = Family(
    "starcoder2",
    ("Starcoder2ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={
        "mlp_type": Only(("default", None), "the feed-forward has no gate"),
        "norm_type": Only(("layer_norm", None), "norms are layer norms"),
    },
    # Read by no class: `hidden_act` is.
    neutral=frozenset({"activation_function"}),
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
