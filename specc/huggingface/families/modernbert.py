"""ModernBERT (Warner et al. 2024, arXiv:2412.13663): norms before, rotary positions, windows in two of three layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import encoders, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move, in_layer, joined, linear, same
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "hidden_activation": "gelu",
    "max_position_embeddings": 8192,
    "initializer_range": 0.02,
    "initializer_cutoff_factor": 2.0,
    "norm_eps": 1e-5,
    "norm_bias": False,
    "pad_token_id": 50283,
    "eos_token_id": 50282,
    "bos_token_id": 50281,
    "cls_token_id": 50281,
    "sep_token_id": 50282,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "layer_types": None,
    "rope_parameters": None,
    "local_attention": 128,
    "embedding_dropout": 0.0,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "decoder_bias": True,
    "classifier_pooling": "cls",
    "classifier_dropout": 0.0,
    "classifier_bias": False,
    "classifier_activation": "gelu",
    "deterministic_flash_attn": False,
    "sparse_prediction": False,
    "sparse_pred_ignore_index": -100,
    "tie_word_embeddings": True,
}
_KINDS = {
    "ModernBertForMaskedLM": "masked_lm",
    "ModernBertModel": "none",
    "ModernBertForSequenceClassification": "classification",
    "ModernBertForTokenClassification": "token_classification",
}
_POOLING = {"cls": "first", "mean": "mean"}


def read(config: Config) -> Section:
    """The `model:` section: the first layer's attention reads the norm of the embeddings (ModernBertEncoderLayer)."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    if config["attention_dropout"]:
        reason = "the output of attention is dropped by it too there, and that of the feed-forward is not"
        raise Unspoken(("attention_dropout",), config["attention_dropout"], reason)
    bias = "all" if config["attention_bias"] else "none"
    extra: Section = {"bias": True} if config["mlp_bias"] else {}
    head, feed_forward = _head(config), parts.gated(config["hidden_activation"], "hidden_activation")
    return encoders.encoder(
        {
            **parts.sizes(config),
            # Other heads have no table of tokens.
            "tie_embeddings": config["tie_word_embeddings"] or head["kind"] != "masked_lm",
            "first_attention_norm": False,
            "embedding": {"norm": _norm(config)},
            "attention": parts.attention(width, heads, heads, width // heads, bias=bias, **_windows(config)),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": _norm(config),
            "ffn": {**feed_forward, "intermediate_size": config["intermediate_size"], **extra},
            "head": head,
            "dropout": parts.dropout(embedding=config["embedding_dropout"], ffn=config["mlp_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Queries, keys and values lie joined, and so do gate and up."""
    kind, norm_bias = _KINDS[config["architectures"][0]], config["norm_bias"]
    base, rows = "" if kind == "none" else "model.", config["intermediate_size"]
    theirs, ours, bias = f"{base}layers.{{i}}", "layers.{i}", config["attention_bias"]
    fused = tuple(f"{ours}.attention.{name}_proj" for name in "qkv")
    gate_up = (f"{ours}.ffn.gate_proj", f"{ours}.ffn.up_proj")
    layer = (
        *joined(f"{theirs}.attn.Wqkv", fused, (config["hidden_size"],) * 3, bias=bias),
        *linear(f"{theirs}.attn.Wo", f"{ours}.attention.o_proj", bias=bias),
        *linear(f"{theirs}.mlp_norm", f"{ours}.ffn_norm", bias=norm_bias),
        *joined(f"{theirs}.mlp.Wi", gate_up, (rows, rows), bias=config["mlp_bias"]),
        *linear(f"{theirs}.mlp.Wo", f"{ours}.ffn.down_proj", bias=config["mlp_bias"]),
    )
    norm = linear(f"{theirs}.attn_norm", f"{ours}.attention_norm", bias=norm_bias)
    return (
        same(f"{base}embeddings.tok_embeddings.weight", "embedding.weight"),
        *linear(f"{base}embeddings.norm", "embedding_norm", bias=norm_bias),
        *(
            in_layer(move, index)
            for index in range(config["num_hidden_layers"])
            for move in (*(norm if index else ()), *layer)
        ),
        *linear(f"{base}final_norm", "norm", bias=norm_bias),
        *_head_moves(config, kind),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section. KeyError for a head or a window that ModernBERT has not."""
    attention, ffn, head = model["attention"], model["ffn"], model["head"]
    dropped = {**parts.DROPOUT, **model.get("dropout", {})}
    names = {kind: name for name, kind in _KINDS.items()}
    sizes = parts.their_sizes(model)
    transform = head.get("transform") or {"activation": "gelu", "bias": False}
    pooling = {own: theirs for theirs, own in _POOLING.items()}[head.get("pooling", "first")]
    window = attention.get("window")
    return {
        **{key: value for key, value in sizes.items() if key not in ("num_key_value_heads", "head_dim")},
        "architectures": [names[head["kind"]]],
        "layer_types": parts.layer_types(model),
        "local_attention": 128 if window is None else 2 * (window - 1),
        "rope_parameters": rope.parameters(model["position"], always_local=True),
        "hidden_activation": parts.activation(ffn),
        "norm_eps": model["norm"]["eps"],
        "norm_bias": model["norm"].get("bias", True),
        "attention_bias": attention.get("bias", "none") == "all",
        "mlp_bias": ffn.get("bias", False),
        "embedding_dropout": dropped["embedding"],
        "mlp_dropout": dropped["ffn"],
        "decoder_bias": head.get("bias", True),
        "classifier_pooling": pooling,
        "classifier_dropout": head.get("dropout", 0.0),
        "classifier_bias": transform["bias"],
        "classifier_activation": {"gelu_tanh": "gelu_pytorch_tanh"}.get(
            transform["activation"], transform["activation"]
        ),
        **(encoders.labels(head) if "num_labels" in head else {}),
    }


def _norm(config: Config) -> Section:
    bias: Section = {} if config["norm_bias"] else {"bias": False}
    return {"kind": "layernorm", "eps": config["norm_eps"], **bias}


def _windows(config: Config) -> Section:
    """`local_attention` is how far both ways together: half of it to either side, the token itself not counted."""
    every = config["global_attn_every_n_layers"] or 3
    made = [rope.LOCAL if index % every else rope.GLOBAL for index in range(config["num_hidden_layers"])]
    return parts.windows(config["layer_types"] or made, config["local_attention"] // 2 + 1)


def _head(config: Config) -> Section:
    kind = _KINDS[config["architectures"][0]]
    if kind == "none":
        return {"kind": kind}
    activation = encoders.dense_activation(config["classifier_activation"], "classifier_activation")
    transform = {"activation": activation, "bias": config["classifier_bias"], "norm": _norm(config)}
    if kind == "masked_lm":
        return {"kind": kind, "transform": transform, "bias": config["decoder_bias"]}
    share = float(config["classifier_dropout"])
    pooling = _POOLING.get(config["classifier_pooling"])
    if pooling is None:
        raise Unspoken(("classifier_pooling",), config["classifier_pooling"], "it is `cls` or `mean`")
    pooled: Section = {"pooling": pooling, "pooler": False} if kind == "classification" else {}
    dropped: Section = {"dropout": share} if share else {}
    return {"kind": kind, "num_labels": encoders.num_labels(config), **pooled, "transform": transform, **dropped}


def _head_moves(config: Config, kind: str) -> tuple[Move, ...]:
    if kind == "none":
        return ()
    transform = (
        *linear("head.dense", "transform", bias=config["classifier_bias"]),
        *linear("head.norm", "transform_norm", bias=config["norm_bias"]),
    )
    if kind != "masked_lm":
        return (*transform, *linear("classifier", "classifier", bias=True))
    table = () if config["tie_word_embeddings"] else (same("decoder.weight", "lm_head.weight"),)
    return (*transform, *table, *((same("decoder.bias", "lm_head.bias"),) if config["decoder_bias"] else ()))


MODERNBERT = Family(
    "modernbert",
    tuple(_KINDS),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(theta=160_000.0, theta_key="global_rope_theta", local_theta=10_000.0, local_theta_key="local_rope_theta"),
    # How weights start, which logits a loss asks for, how a kernel is run, and what a class does not read at all.
    neutral=frozenset(
        {
            "initializer_cutoff_factor",
            "sparse_prediction",
            "sparse_pred_ignore_index",
            "deterministic_flash_attn",
            "reference_compile",
            "repad_logits_with_grad",
            "position_embedding_type",
            "layer_norm_eps",
        }
    ),
    old_keys={"global_attn_every_n_layers": int},
)
