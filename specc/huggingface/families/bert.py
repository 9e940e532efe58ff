"""BERT (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import encoders
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, linear, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "use_cache": True,
    "classifier_dropout": None,
    "is_decoder": False,
    "add_cross_attention": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "tie_word_embeddings": True,
}
_KINDS = {
    "BertForMaskedLM": "masked_lm",
    "BertModel": "pooled",
    "BertForSequenceClassification": "classification",
    "BertForTokenClassification": "token_classification",
}


def read(config: Config) -> Section:
    """The `model:` section; its head is that of the class in `architectures`."""
    return encoders.post_norm(config, {"kind": "learned"}, config["max_position_embeddings"], _head(config))


def moves(config: Config) -> tuple[Move, ...]:
    """`BertModel` alone lies without a prefix."""
    kind = _KINDS[config["architectures"][0]]
    base = "" if kind == "pooled" else "bert."
    prediction = "cls.predictions"
    heads = {
        "masked_lm": (
            *linear(f"{prediction}.transform.dense", "transform", bias=True),
            *linear(f"{prediction}.transform.LayerNorm", "transform_norm", bias=True),
            same(f"{prediction}.bias", "lm_head.bias"),
        ),
        "pooled": linear("pooler.dense", "pooler", bias=True),
        "classification": (
            *linear("bert.pooler.dense", "pooler", bias=True),
            *linear("classifier", "classifier", bias=True),
        ),
        "token_classification": linear("classifier", "classifier", bias=True),
    }
    return (*encoders.moves(config, base), *heads[kind])


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    head = model["head"]
    names = {kind: name for name, kind in _KINDS.items()}
    labelled = encoders.labels(head) if "num_labels" in head else {}
    share = model.get("dropout", {}).get("residual", 0.0)
    own = {"classifier_dropout": head["dropout"]} if head.get("dropout", share) != share else {}
    return {**encoders.written(model), "architectures": [names[head["kind"]]], **labelled, **own}


def _head(config: Config) -> Section:
    kind = _KINDS[config["architectures"][0]]
    if kind == "masked_lm":
        activation = encoders.dense_activation(config["hidden_act"], "hidden_act")
        norm = {"kind": "layernorm", "eps": config["layer_norm_eps"]}
        return {"kind": kind, "transform": {"activation": activation, "bias": True, "norm": norm}, "bias": True}
    if kind == "pooled":
        return {"kind": kind, "pooling": "first", "pooler": True}
    section: Section = {"kind": kind, "num_labels": encoders.num_labels(config)}
    share = encoders.classifier_dropout(config)
    pooled: Section = {"pooling": "first", "pooler": True} if kind == "classification" else {}
    return {**section, **pooled, **({"dropout": share} if share else {})}


def _pretraining(config: Config) -> dict[str, str]:
    """What `BertForPreTraining` has beside what the other classes read: the published checkpoints are of it."""
    said = f"`{config['architectures'][0]}` has no such part of the model that was pre-trained"
    return {r"bert\.pooler\.dense\.(weight|bias)": said, r"cls\.seq_relationship\.(weight|bias)": said}


_ALONE = "an encoder reads both ways and nothing beside its input"
BERT = Family(
    "bert",
    tuple(_KINDS),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "is_decoder": Only((False,), _ALONE),
        "add_cross_attention": Only((False,), _ALONE),
        "tie_word_embeddings": Only((True,), "the head of a masked model reads the table of the tokens"),
        "position_embedding_type": Only(("absolute",), "`BertModel` adds a vector for each position, whatever it says"),
    },
    # The pooler of checkpoints that were saved as another class than they are read as.
    neutral=frozenset(
        {
            "directionality",
            "pooler_fc_size",
            "pooler_num_attention_heads",
            "pooler_num_fc_layers",
            "pooler_size_per_head",
            "pooler_type",
        }
    ),
    ignored=(r"(bert\.)?embeddings\.position_ids",),
    unread=_pretraining,
)
