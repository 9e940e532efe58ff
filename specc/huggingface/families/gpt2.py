"""GPT-2 (Radford et al. 2019): learned positions, biases everywhere, linear layers stored as [in, out]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, every_layer, linear, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "summary_activation": None,
    "summary_proj_to_labels": True,
    "summary_first_dropout": 0.1,
    "scale_attn_weights": True,
    "use_cache": True,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "pad_token_id": None,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


def read(config: Config) -> Section:
    """The `model:` section."""
    width, heads = config["n_embd"], config["n_head"]
    inner = 4 * width if config["n_inner"] is None else config["n_inner"]
    scale = "auto" if config["scale_attn_weights"] else 1.0
    return parts.decoder(
        {
            "hidden_size": width,
            "num_layers": config["n_layer"],
            "context_length": config["n_positions"],
            "vocab_size": config["vocab_size"],
            "tie_embeddings": config["tie_word_embeddings"],
            "attention": parts.attention(width, heads, heads, width // heads, bias="all", scale=scale),
            "position": {"kind": "learned"},
            "norm": {"kind": "layernorm", "eps": config["layer_norm_epsilon"]},
            "ffn": parts.two_matrices(config["activation_function"], "activation_function", inner, bias=True),
            "dropout": parts.dropout(
                embedding=config["embd_pdrop"], attention=config["attn_pdrop"], residual=config["resid_pdrop"]
            ),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """`Conv1D` keeps a matrix as [in, out], with queries, keys and values side by side."""
    base, attention, width = "transformer.h.{i}", "layers.{i}.attention", config["n_embd"]
    rows = (width, width, width)
    weights, biases = (tuple(f"{attention}.{name}_proj.{part}" for name in "qkv") for part in ("weight", "bias"))
    layer = (
        *linear(f"{base}.ln_1", "layers.{i}.attention_norm", bias=True),
        Move(f"{base}.attn.c_attn.weight", weights, "rows_transposed", rows),
        Move(f"{base}.attn.c_attn.bias", biases, "rows", rows),
        *_conv(f"{base}.attn.c_proj", f"{attention}.o_proj"),
        *linear(f"{base}.ln_2", "layers.{i}.ffn_norm", bias=True),
        *_conv(f"{base}.mlp.c_fc", "layers.{i}.ffn.up_proj"),
        *_conv(f"{base}.mlp.c_proj", "layers.{i}.ffn.down_proj"),
    )
    return (
        same("transformer.wte.weight", "embedding.weight"),
        same("transformer.wpe.weight", "position_embedding.weight"),
        *every_layer(config["n_layer"], layer),
        *linear("transformer.ln_f", "norm", bias=True),
        *(() if config["tie_word_embeddings"] else (same("lm_head.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    attention, ffn, dropped = model["attention"], model["ffn"], {**parts.DROPOUT, **model.get("dropout", {})}
    return {
        "n_embd": model["hidden_size"],
        "n_layer": model["num_layers"],
        "n_head": attention["num_heads"],
        "n_positions": model["context_length"],
        "n_inner": None if ffn["intermediate_size"] == 4 * model["hidden_size"] else ffn["intermediate_size"],
        "vocab_size": model["vocab_size"],
        "activation_function": parts.activation(ffn, "gelu_new"),
        "layer_norm_epsilon": model["norm"]["eps"],
        "scale_attn_weights": attention.get("scale", "auto") == "auto",
        "embd_pdrop": dropped["embedding"],
        "attn_pdrop": dropped["attention"],
        "resid_pdrop": dropped["residual"],
        "tie_word_embeddings": model["tie_embeddings"],
    }


def _conv(theirs: str, ours: str) -> tuple[Move, Move]:
    return Move(f"{theirs}.weight", (f"{ours}.weight",), "transposed"), same(f"{theirs}.bias", f"{ours}.bias")


GPT2 = Family(
    "gpt2",
    ("GPT2LMHeadModel",),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "scale_attn_by_inverse_layer_idx": Only((False,), "`attention.scale` is one number for all layers"),
        "reorder_and_upcast_attn": Only((False,), "scores are made in the precision of the model"),
        "add_cross_attention": Only((False,), "a decoder that reads an encoder is `kind: encoder_decoder`"),
    },
    # What a head for multiple choice does, which no language model has;
    neutral=frozenset(
        {
            "summary_type",
            "summary_use_proj",
            "summary_activation",
            "summary_proj_to_labels",
            "summary_first_dropout",
        }
    ),
    old_names={"n_ctx": "n_positions"},
    ignored=(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)",),
)
