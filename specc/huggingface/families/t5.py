"""T5, T5 v1.1 and Flan-T5 (Raffel et al. 2020, arXiv:1910.10683; Shazeer 2020, arXiv:2002.05202).

v1.1 has a head of its own and unscaled logits. Its published configs say so by `tie_word_embeddings: false`, of which
transformers 5.23 keeps the second half only: it ties unless the checkpoint holds two different tables, and saves
`tie_word_embeddings: true, scale_decoder_outputs: false`. Both forms are read as what their checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, every_layer, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": None,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
    "layer_norm_epsilon": 1e-6,
    "initializer_factor": 1.0,
    "feed_forward_proj": "relu",
    "is_encoder_decoder": True,
    "use_cache": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "classifier_dropout": 0.0,
    "is_decoder": False,
}
TRAINED_CONTEXT = 512
"""Tokens that T5 was trained on (the paper, section 3.1.2); relative positions have no end."""


def read(config: Config) -> Section:
    """The `model:` section."""
    width, heads, share = config["d_model"], config["num_heads"], config["dropout_rate"]
    position = {
        "num_buckets": config["relative_attention_num_buckets"],
        "max_distance": config["relative_attention_max_distance"],
    }
    section = parts.decoder(
        {
            "hidden_size": width,
            "num_layers": config["num_layers"],
            "num_decoder_layers": config["num_decoder_layers"] or config["num_layers"],
            "context_length": config["n_positions"] or TRAINED_CONTEXT,
            "vocab_size": config["vocab_size"],
            "tie_embeddings": _tied(config),
            "attention": parts.attention(width, heads, heads, config["d_kv"], scale=1.0),
            "position": {"kind": "relative", **parts.differing(position, POSITION)},
            "norm": {"kind": "rmsnorm", "eps": config["layer_norm_epsilon"]},
            "ffn": _feed_forward(config),
            "head": {"kind": "lm", "multiplier": width**-0.5} if _scaled(config) else {},
            # T5 also drops what comes out of the last norm of either stack.
            "dropout": parts.dropout(embedding=share, attention=share, residual=share, ffn=share, output=share),
        }
    )
    return {**section, "kind": "encoder_decoder"}


POSITION: Mapping[str, Any] = {"num_buckets": 32, "max_distance": 128}
"""Keys of `position` of kind `relative` with the value that they have when nobody writes them."""


def moves(config: Config) -> tuple[Move, ...]:
    """The first layer of either stack holds the table of distances that all its layers read."""
    gated = _gated(config)
    encoder = (
        *_attention("encoder.block.{i}.layer.0", "SelfAttention", "encoder.layers.{i}", ""),
        *_ffn("encoder.block.{i}.layer.1", "encoder.layers.{i}", gated=gated),
    )
    decoder = (
        *_attention("decoder.block.{i}.layer.0", "SelfAttention", "layers.{i}", ""),
        *_attention("decoder.block.{i}.layer.1", "EncDecAttention", "layers.{i}", "cross_"),
        *_ffn("decoder.block.{i}.layer.2", "layers.{i}", gated=gated),
    )
    table = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return (
        same("shared.weight", "embedding.weight"),
        same(f"encoder.{table}", "encoder.position_embedding.weight"),
        *every_layer(config["num_layers"], encoder),
        same("encoder.final_layer_norm.weight", "encoder.norm.weight"),
        same(f"decoder.{table}", "position_embedding.weight"),
        *every_layer(config["num_decoder_layers"] or config["num_layers"], decoder),
        same("decoder.final_layer_norm.weight", "norm.weight"),
        *(() if _tied(config) else (same("lm_head.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section. KeyError for a head that is tied and not scaled by the width, or the reverse."""
    ffn, position = model["ffn"], {**POSITION, **model["position"]}
    scaled = model.get("head", {}).get("multiplier", 1.0) != 1.0
    activation = parts.activation(ffn, "gelu_new")
    gated = ffn["kind"] in ("geglu", "swiglu", "reglu")
    # `gated-gelu` is the one name that means the approximated GELU.
    name = "gelu" if gated and activation == "gelu_new" else activation
    return {
        "d_model": model["hidden_size"],
        "d_kv": parts.head_dim(model),
        "d_ff": ffn["intermediate_size"],
        "num_layers": model["num_layers"],
        "num_decoder_layers": model["num_decoder_layers"],
        "num_heads": model["attention"]["num_heads"],
        **({} if model["context_length"] == TRAINED_CONTEXT else {"n_positions": model["context_length"]}),
        "vocab_size": model["vocab_size"],
        "relative_attention_num_buckets": position["num_buckets"],
        "relative_attention_max_distance": position["max_distance"],
        "dropout_rate": model.get("dropout", {}).get("residual", 0.0),
        "layer_norm_epsilon": model["norm"]["eps"],
        "feed_forward_proj": f"gated-{name}" if gated else name,
        "tie_word_embeddings": model["tie_embeddings"],
        "scale_decoder_outputs": scaled,
    }


def _tied(config: Config) -> bool:
    return config["tie_word_embeddings"] is not False


def _scaled(config: Config) -> bool:
    said = config["scale_decoder_outputs"]
    return _tied(config) if said is None else bool(said)


def _gated(config: Config) -> bool:
    said = config["is_gated_act"]
    return str(config["feed_forward_proj"]).startswith("gated-") if said is None else bool(said)


def _feed_forward(config: Config) -> Section:
    """`feed_forward_proj` is an activation, or `gated-` and one; `gated-gelu` means `gelu_new` (T5Config)."""
    written = config["feed_forward_proj"]
    name = config["dense_act_fn"] or {"gated-gelu": "gelu_new"}.get(written, written.split("-")[-1])
    if not _gated(config):
        return parts.two_matrices(name, "feed_forward_proj", config["d_ff"], bias=False)
    return {**parts.gated(name, "feed_forward_proj"), "intermediate_size": config["d_ff"]}


def _attention(theirs: str, module: str, ours: str, prefix: str) -> tuple[Move, ...]:
    return (
        same(f"{theirs}.layer_norm.weight", f"{ours}.{prefix}attention_norm.weight"),
        *(same(f"{theirs}.{module}.{n}.weight", f"{ours}.{prefix}attention.{n}_proj.weight") for n in "qkvo"),
    )


def _ffn(theirs: str, ours: str, *, gated: bool) -> tuple[Move, ...]:
    names = {"wi_0": "gate_proj", "wi_1": "up_proj"} if gated else {"wi": "up_proj"}
    return (
        same(f"{theirs}.layer_norm.weight", f"{ours}.ffn_norm.weight"),
        *(
            same(f"{theirs}.DenseReluDense.{name}.weight", f"{ours}.ffn.{own}.weight")
            for name, own in {**names, "wo": "down_proj"}.items()
        ),
    )


T5 = Family(
    "t5",
    ("T5ForConditionalGeneration", "T5WithLMHeadModel"),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "is_encoder_decoder": Only((True,), "half of the model is not read"),
        "is_decoder": Only((False,), "half of the model is not read"),
    },
    # How weights start, the head of a classifier, and what a model was saved from.
    neutral=frozenset({"initializer_factor", "classifier_dropout", "output_past"}),
    old_names={"d_inner": "d_ff"},
    old_keys={
        "n_positions": int,
        "tie_word_embeddings": bool,
        "scale_decoder_outputs": bool,
        "dense_act_fn": str,
        "is_gated_act": bool,
    },
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
)
