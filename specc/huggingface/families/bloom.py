"""BLOOM (BigScience 2022, arXiv:2211.05100): ALiBi, a norm on the embeddings, four times the width inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, every_layer, joined, linear, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 250880,
    "hidden_size": 64,
    "n_layer": 2,
    "n_head": 8,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
    "use_cache": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
    "apply_residual_connection_post_layernorm": False,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "pretraining_tp": 1,
    "slow_but_exact": False,
    "tie_word_embeddings": True,
}
TRAINED_CONTEXT = 2048
"""Tokens that BLOOM was trained on (the paper, table 3); its config class has no such key, and ALiBi no end."""


def read(config: Config) -> Section:
    """The `model:` section."""
    width, heads = config["hidden_size"], config["n_head"]
    norm = {"kind": "layernorm", "eps": config["layer_norm_epsilon"]}
    return parts.decoder(
        {
            "hidden_size": width,
            "num_layers": config["n_layer"],
            "context_length": config["seq_length"] or TRAINED_CONTEXT,
            "vocab_size": config["vocab_size"],
            "tie_embeddings": config["tie_word_embeddings"],
            "embedding": {"norm": norm},
            "attention": parts.attention(width, heads, heads, width // heads, bias="all"),
            "position": {"kind": "alibi"},
            "norm": norm,
            "ffn": parts.two_matrices("gelu_new", "", 4 * width, bias=True),
            "dropout": parts.dropout(attention=config["attention_dropout"], residual=config["hidden_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Queries, keys and values are joined head by head: [heads, 3, values per head]."""
    base, ours, heads = "transformer.h.{i}", "layers.{i}", config["n_head"]
    rows = (config["hidden_size"] // heads,) * 3
    fused = tuple(f"{ours}.attention.{name}_proj" for name in "qkv")
    layer = (
        *linear(f"{base}.input_layernorm", f"{ours}.attention_norm", bias=True),
        *joined(f"{base}.self_attention.query_key_value", fused, rows, bias=True, groups=heads),
        *linear(f"{base}.self_attention.dense", f"{ours}.attention.o_proj", bias=True),
        *linear(f"{base}.post_attention_layernorm", f"{ours}.ffn_norm", bias=True),
        *linear(f"{base}.mlp.dense_h_to_4h", f"{ours}.ffn.up_proj", bias=True),
        *linear(f"{base}.mlp.dense_4h_to_h", f"{ours}.ffn.down_proj", bias=True),
    )
    return (
        same("transformer.word_embeddings.weight", "embedding.weight"),
        *linear("transformer.word_embeddings_layernorm", "embedding_norm", bias=True),
        *every_layer(config["n_layer"], layer),
        *linear("transformer.ln_f", "norm", bias=True),
        *(() if config["tie_word_embeddings"] else (same("lm_head.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    dropped = {**parts.DROPOUT, **model.get("dropout", {})}
    return {
        "hidden_size": model["hidden_size"],
        "n_layer": model["num_layers"],
        "n_head": model["attention"]["num_heads"],
        **({} if model["context_length"] == TRAINED_CONTEXT else {"seq_length": model["context_length"]}),
        "vocab_size": model["vocab_size"],
        "layer_norm_epsilon": model["norm"]["eps"],
        "hidden_dropout": dropped["residual"],
        "attention_dropout": dropped["attention"],
        "tie_word_embeddings": model["tie_embeddings"],
    }


_OTHER_STREAM = "the stream itself is added to, not what the norm makes of it"
BLOOM = Family(
    "bloom",
    ("BloomForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "apply_residual_connection_post_layernorm": Only((False,), _OTHER_STREAM),
        "n_inner": Only((None,), "`BloomForCausalLM` ignores it and is four times as wide inside"),
    },
    # How Megatron had cut the products at training: with `slow_but_exact` the sums are added in that order.
    neutral=frozenset(
        {
            "pretraining_tp",
            "slow_but_exact",
            "skip_bias_add",
            "skip_bias_add_qkv",
            "attention_softmax_in_fp32",
            "bias_dropout_fusion",
            "masked_softmax_fusion",
            "offset_alibi",
            "unk_token_id",
        }
    ),
    old_names={"n_embed": "hidden_size", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer"},
    old_keys={"seq_length": int},
)
