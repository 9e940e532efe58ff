"""RoBERTa (Liu et al. 2019, arXiv:1907.11692): BERT whose positions begin behind the padding id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import encoders
from specc.huggingface.families.bert import DEFAULTS as BERT
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, linear, same
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {**BERT, "vocab_size": 50265, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
_KINDS = {
    "RobertaForMaskedLM": "masked_lm",
    "RobertaModel": "pooled",
    "RobertaForSequenceClassification": "classification",
    "RobertaForTokenClassification": "token_classification",
}


def read(config: Config) -> Section:
    """The `model:` section: the first token is at position `pad_token_id` + 1 of the table (RobertaEmbeddings)."""
    padding = config["pad_token_id"]
    if not isinstance(padding, int) or padding < 0:
        raise Unspoken(("pad_token_id",), padding, "positions begin behind it, so it is a whole number")
    offset = padding + 1
    position = {"kind": "learned", "offset": offset}
    return encoders.post_norm(config, position, config["max_position_embeddings"] - offset, _head(config))


def moves(config: Config) -> tuple[Move, ...]:
    """`RobertaModel` alone lies without a prefix."""
    kind = _KINDS[config["architectures"][0]]
    heads = {
        "masked_lm": (
            *linear("lm_head.dense", "transform", bias=True),
            *linear("lm_head.layer_norm", "transform_norm", bias=True),
            same("lm_head.bias", "lm_head.bias"),
        ),
        "pooled": linear("pooler.dense", "pooler", bias=True),
        "classification": (
            *linear("classifier.dense", "pooler", bias=True),
            *linear("classifier.out_proj", "classifier", bias=True),
        ),
        "token_classification": linear("classifier", "classifier", bias=True),
    }
    return (*encoders.moves(config, "" if kind == "pooled" else "roberta."), *heads[kind])


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    head, offset = model["head"], model["position"].get("offset", 0)
    names = {kind: name for name, kind in _KINDS.items()}
    labelled = encoders.labels(head) if "num_labels" in head else {}
    share = model.get("dropout", {}).get("residual", 0.0)
    own = {"classifier_dropout": head["dropout"]} if head.get("dropout", share) != share else {}
    return {
        **encoders.written(model),
        "architectures": [names[head["kind"]]],
        "max_position_embeddings": model["context_length"] + offset,
        "pad_token_id": offset - 1,
        **labelled,
        **own,
    }


def _head(config: Config) -> Section:
    kind = _KINDS[config["architectures"][0]]
    if kind == "masked_lm":
        # The exact GELU, whatever the layers have (RobertaLMHead).
        norm = {"kind": "layernorm", "eps": config["layer_norm_eps"]}
        return {"kind": kind, "transform": {"activation": "gelu", "bias": True, "norm": norm}, "bias": True}
    if kind == "pooled":
        return {"kind": kind, "pooling": "first", "pooler": True}
    section: Section = {"kind": kind, "num_labels": encoders.num_labels(config)}
    share = encoders.classifier_dropout(config)
    dropped: Section = {"dropout": share} if share else {}
    if kind == "token_classification":
        return {**section, **dropped}
    # What the dense layer reads is dropped too (RobertaClassificationHead).
    before: Section = {"pooler_dropout": share} if share else {}
    return {**section, "pooling": "first", "pooler": True, **before, **dropped}


def _pretraining(config: Config) -> dict[str, str]:
    """What the pre-trained checkpoints hold beside what the class reads that they are named after."""
    said = f"`{config['architectures'][0]}` has no such part of the model that was pre-trained"
    return {r"roberta\.pooler\.dense\.(weight|bias)": said}


_ALONE = "an encoder reads both ways and nothing beside its input"
ROBERTA = Family(
    "roberta",
    tuple(_KINDS),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "is_decoder": Only((False,), _ALONE),
        "add_cross_attention": Only((False,), _ALONE),
        "tie_word_embeddings": Only((True,), "the head of a masked model reads the table of the tokens"),
        "position_embedding_type": Only(
            ("absolute",), "`RobertaModel` adds a vector for each position, whatever it says"
        ),
    },
    ignored=(r"(roberta\.)?embeddings\.position_ids",),
    unread=_pretraining,
)
