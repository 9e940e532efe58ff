"""Falcon (Almazrouei et al. 2023, arXiv:2311.16867): the shapes of 7B, of 40B and 180B, and of RefinedWeb's 1B."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move, every_layer, joined, linear, same
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 65024,
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "num_ln_in_parallel_attn": None,
    "layer_norm_epsilon": 1e-5,
    "initializer_range": 0.02,
    "use_cache": True,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "num_kv_heads": None,
    "alibi": False,
    "new_decoder_architecture": False,
    "multi_query": True,
    "parallel_attn": True,
    "bias": False,
    "max_position_embeddings": 2048,
    "rope_parameters": None,
    "bos_token_id": 11,
    "eos_token_id": 11,
    "pad_token_id": None,
    "ffn_hidden_size": None,
    "activation": "gelu",
    "tie_word_embeddings": True,
}


def read(config: Config) -> Section:
    """The `model:` section."""
    width, heads, bias = config["hidden_size"], config["num_attention_heads"], config["bias"]
    inner = config["ffn_hidden_size"] or 4 * width
    _check(config)
    return parts.decoder(
        {
            **parts.sizes(config),
            "residual": _residual(config),
            "attention": parts.attention(
                width, heads, _kv_heads(config), width // heads, bias="all" if bias else "none"
            ),
            "position": _position(config, width // heads),
            "norm": {"kind": "layernorm", "eps": config["layer_norm_epsilon"]},
            "ffn": parts.two_matrices(config["activation"], "activation", inner, bias=bias),
            "dropout": _dropout(config),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Three layouts of queries, keys and values: by head, all queries first, and by key/value head."""
    base, ours, bias = "transformer.h.{i}", "layers.{i}", config["bias"]
    heads, kv_heads = config["num_attention_heads"], _kv_heads(config)
    size = config["hidden_size"] // heads
    # One group a key/value head is all three: the queries that read it, the key, the value.
    rows = (heads // kv_heads * size, size, size)
    fused = tuple(f"{ours}.attention.{name}_proj" for name in "qkv")
    layer = (
        *_norms(config, base, ours),
        *joined(f"{base}.self_attention.query_key_value", fused, rows, bias=bias, groups=kv_heads),
        *linear(f"{base}.self_attention.dense", f"{ours}.attention.o_proj", bias=bias),
        *linear(f"{base}.mlp.dense_h_to_4h", f"{ours}.ffn.up_proj", bias=bias),
        *linear(f"{base}.mlp.dense_4h_to_h", f"{ours}.ffn.down_proj", bias=bias),
    )
    return (
        same("transformer.word_embeddings.weight", "embedding.weight"),
        *every_layer(config["num_hidden_layers"], layer),
        *linear("transformer.ln_f", "norm", bias=True),
        *(() if config["tie_word_embeddings"] else (same("lm_head.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section: the shape of 40B where heads are grouped or norms are two."""
    attention, residual = model["attention"], model.get("residual", "sequential")
    dropped = {**parts.DROPOUT, **model.get("dropout", {})}
    new = attention["kind"] == "gqa" or residual == "parallel_two_norms"
    alibi = model["position"]["kind"] == "alibi"
    sizes = parts.their_sizes(model)
    shared = ("hidden_size", "num_hidden_layers", "max_position_embeddings", "vocab_size", "tie_word_embeddings")
    return {
        **{key: sizes[key] for key in (*shared, "num_attention_heads")},
        "num_kv_heads": parts.kv_heads(attention) if new else attention["num_heads"],
        "new_decoder_architecture": new,
        "num_ln_in_parallel_attn": {"parallel_two_norms": 2, "parallel": 1}.get(residual) if new else None,
        "multi_query": new or attention["kind"] == "mqa",
        "parallel_attn": residual != "sequential",
        "alibi": alibi,
        "bias": attention.get("bias", "none") == "all",
        **({} if alibi else {"rope_parameters": rope.parameters(model["position"])}),
        "layer_norm_epsilon": model["norm"]["eps"],
        "activation": parts.activation(model["ffn"]),
        "ffn_hidden_size": model["ffn"]["intermediate_size"],
        "hidden_dropout": dropped["residual"],
        "attention_dropout": dropped["attention"] or dropped["residual"],
    }


def _check(config: Config) -> None:
    """Shapes that transformers 5.23 cannot run, and dropout in places that ours does not have."""
    norms, new = config["num_ln_in_parallel_attn"], config["new_decoder_architecture"]
    if new and not config["parallel_attn"]:
        reason = "`new_decoder_architecture` puts attention and feed-forward side by side"
        raise Unspoken(("parallel_attn",), config["parallel_attn"], reason)
    if norms not in ((None, 1, 2) if new else (None, 1)):
        reason = "it is 1, or 2 with `new_decoder_architecture`"
        raise Unspoken(("num_ln_in_parallel_attn",), norms, reason)
    kv_heads, heads = config["num_kv_heads"], config["num_attention_heads"]
    if kv_heads not in (None, heads) and not new and not config["multi_query"]:
        raise Unspoken(("num_kv_heads",), kv_heads, f"without `multi_query` each of the {heads} heads has its own")
    hidden, attention = config["hidden_dropout"], config["attention_dropout"]
    if config["parallel_attn"] and hidden:
        reason = "attention and feed-forward are dropped by one mask there, and by one each here"
        raise Unspoken(("hidden_dropout",), hidden, reason)
    if not config["parallel_attn"] and hidden != attention:
        reason = f"the output of attention is dropped by `attention_dropout` ({attention:g}) there, of both by one here"
        raise Unspoken(("hidden_dropout",), hidden, reason)


def _dropout(config: Config) -> Section:
    # With rotary angles the scores are not dropped (modeling_falcon.py, FalconAttention.forward).
    scores = config["attention_dropout"] if config["alibi"] else 0.0
    return parts.dropout(attention=scores, residual=config["hidden_dropout"])


def _kv_heads(config: Config) -> int:
    heads = config["num_attention_heads"]
    if config["new_decoder_architecture"]:
        return int(config["num_kv_heads"] or heads)
    return 1 if config["multi_query"] else int(heads)


def _residual(config: Config) -> str:
    if not config["parallel_attn"]:
        return "sequential"
    two = config["new_decoder_architecture"] and config["num_ln_in_parallel_attn"] != 1
    return "parallel_two_norms" if two else "parallel"


def _position(config: Config, head_dim: int) -> Section:
    """ALiBi is scaled together with the scores, and its slopes are rounded (build_alibi_tensor)."""
    if config["alibi"]:
        return {"kind": "alibi", "slope_precision": "bf16", "multiplier": head_dim**-0.5}
    return rope.position(config, config["max_position_embeddings"])


def _norms(config: Config, base: str, ours: str) -> tuple[Move, ...]:
    residual = _residual(config)
    names = {
        "sequential": (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "ffn_norm")),
        "parallel": (("input_layernorm", "attention_norm"),),
        "parallel_two_norms": (("ln_attn", "attention_norm"), ("ln_mlp", "ffn_norm")),
    }[residual]
    return tuple(move for name, own in names for move in linear(f"{base}.{name}", f"{ours}.{own}", bias=True))


FALCON = Family(
    "falcon",
    ("FalconForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={
        "apply_residual_connection_post_layernorm": Only(
            (False,), "`FalconForCausalLM` ignores it and adds to the stream itself, which is not what it says"
        )
    },
    old_names={"n_embed": "hidden_size", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers"},
)
