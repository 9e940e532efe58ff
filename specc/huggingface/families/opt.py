"""OPT (Zhang et al. 2022, arXiv:2205.01068)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, every_layer, linear, same
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "ffn_dim": 3072,
    "max_position_embeddings": 2048,
    "do_layer_norm_before": True,
    "_remove_final_layer_norm": False,
    "word_embed_proj_dim": None,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "num_attention_heads": 12,
    "activation_function": "relu",
    "layerdrop": 0.0,
    "init_std": 0.02,
    "use_cache": True,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "enable_bias": True,
    "layer_norm_elementwise_affine": True,
    "tie_word_embeddings": True,
}

_EPS = 1e-5
"""The class leaves its norms at the default of PyTorch."""
_OFFSET = 2
"""Rows of the position table before that of position 0."""


def read(config: Config) -> Section:
    """The `model:` section: learned positions, biases, norms before parts or after sums (OPT-350M)."""
    if config["word_embed_proj_dim"] not in (None, config["hidden_size"]):
        reason = f"tokens are as wide as the model here, which is {config['hidden_size']}"
        raise Unspoken(("word_embed_proj_dim",), config["word_embed_proj_dim"], reason)
    biased, heads = config["enable_bias"], config["num_attention_heads"]
    plain: Section = {} if config["layer_norm_elementwise_affine"] else {"bias": False, "weight": False}
    return parts.decoder(
        {
            **parts.sizes(config),
            "norm_placement": "pre" if config["do_layer_norm_before"] else "post",
            "attention": parts.attention(
                config["hidden_size"], heads, heads, config["hidden_size"] // heads, bias="all" if biased else "none"
            ),
            "position": {"kind": "learned", "offset": _OFFSET},
            "norm": {"kind": "layernorm", "eps": _EPS, **plain},
            "ffn": parts.two_matrices(
                config["activation_function"], "activation_function", config["ffn_dim"], bias=biased
            ),
            "dropout": parts.dropout(attention=config["attention_dropout"], residual=config["dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides; the last norm is there where norms come before."""
    affine, biased = config["layer_norm_elementwise_affine"], config["enable_bias"]
    last = linear(f"{_DECODER}.final_layer_norm", "norm", bias=True)
    return (
        same(f"{_DECODER}.embed_tokens.weight", "embedding.weight"),
        same(f"{_DECODER}.embed_positions.weight", "position_embedding.weight"),
        *every_layer(config["num_hidden_layers"], _layer(affine=affine, biased=biased)),
        *(last if affine and config["do_layer_norm_before"] else ()),
        *(() if config["tie_word_embeddings"] else (same("lm_head.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    norm, ffn = model["norm"], model["ffn"]
    return {
        "vocab_size": model["vocab_size"],
        "hidden_size": model["hidden_size"],
        "num_hidden_layers": model["num_layers"],
        "max_position_embeddings": model["context_length"],
        "tie_word_embeddings": model["tie_embeddings"],
        "num_attention_heads": model["attention"]["num_heads"],
        "ffn_dim": ffn["intermediate_size"],
        "activation_function": parts.activation(ffn),
        "enable_bias": ffn.get("bias", False),
        "do_layer_norm_before": model.get("norm_placement", "pre") == "pre",
        "layer_norm_elementwise_affine": norm.get("weight", True),
        "attention_dropout": parts.dropped(model, "attention"),
        "dropout": parts.dropped(model, "residual"),
    }


_DECODER = "model.decoder"


def _layer(*, affine: bool, biased: bool) -> tuple[Move, ...]:
    theirs, ours = f"{_DECODER}.layers.{{i}}", "layers.{i}"
    norms = (("self_attn_layer_norm", "attention_norm"), ("final_layer_norm", "ffn_norm"))
    projections = (
        *((f"self_attn.{name}", f"attention.{name}") for name in ("q_proj", "k_proj", "v_proj")),
        ("self_attn.out_proj", "attention.o_proj"),
        ("fc1", "ffn.up_proj"),
        ("fc2", "ffn.down_proj"),
    )
    return tuple(
        move
        for pairs, bias in ((norms if affine else (), True), (projections, biased))
        for name, our in pairs
        for move in linear(f"{theirs}.{name}", f"{ours}.{our}", bias=bias)
    )


OPT = Family(
    "opt",
    ("OPTForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "_remove_final_layer_norm": Only((False,), "a model with norms before its parts has one after its layers"),
        "layerdrop": Only((0.0,), "every layer is used in training"),
        "activation_dropout": Only((0.0, None), "the class has no dropout within the feed-forward"),
    },
    neutral=frozenset({"init_std"}),
)
