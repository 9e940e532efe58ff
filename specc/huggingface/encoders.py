"""BERT's encoder, which RoBERTa shares: norms after each sum, a norm on the embeddings, and four sorts of heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Section
from specc.huggingface.tensors import Move, every_layer, linear, same
from specc.huggingface.unspoken import Unspoken

_DENSE = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "tanh": "tanh",
}


def encoder(values: Mapping[str, Any]) -> Section:
    """A `model:` section of kind `encoder`: sections that are empty and keys that say their default are left out."""
    return {**parts.decoder(values), "kind": "encoder"}


def post_norm(config: Config, position: Section, context_length: int, head: Section) -> Section:
    """The `model:` section of a config of BERT or RoBERTa."""
    norm = {"kind": "layernorm", "eps": config["layer_norm_eps"]}
    heads, hidden = config["num_attention_heads"], config["hidden_dropout_prob"]
    width, inner = config["hidden_size"], config["intermediate_size"]
    return encoder(
        {
            **parts.sizes(config),
            "context_length": context_length,
            "norm_placement": "post",
            "embedding": {"norm": norm, "token_types": config["type_vocab_size"]},
            "attention": parts.attention(width, heads, heads, width // heads, bias="all"),
            "position": position,
            "norm": norm,
            "ffn": parts.two_matrices(config["hidden_act"], "hidden_act", inner, bias=True),
            "head": head,
            "dropout": parts.dropout(
                embedding=hidden, attention=config["attention_probs_dropout_prob"], residual=hidden
            ),
        }
    )


def written(model: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `post_norm`, without positions and head."""
    dropped = {**parts.DROPOUT, **model.get("dropout", {})}
    sizes = parts.their_sizes(model)
    return {
        **{key: value for key, value in sizes.items() if key not in ("num_key_value_heads", "head_dim")},
        "type_vocab_size": model["embedding"]["token_types"],
        "hidden_act": parts.activation(model["ffn"], "gelu_new"),
        "hidden_dropout_prob": dropped["residual"],
        "attention_probs_dropout_prob": dropped["attention"],
        "layer_norm_eps": model["norm"]["eps"],
    }


def moves(config: Config, base: str) -> tuple[Move, ...]:
    """Embeddings and layers below `base` (with its dot)."""
    layer = (
        *(
            move
            for name, own in {"query": "q_proj", "key": "k_proj", "value": "v_proj"}.items()
            for move in linear(
                f"{base}encoder.layer.{{i}}.attention.self.{name}", f"layers.{{i}}.attention.{own}", bias=True
            )
        ),
        *(
            move
            for name, own in {
                "attention.output.dense": "attention.o_proj",
                "attention.output.LayerNorm": "attention_norm",
                "intermediate.dense": "ffn.up_proj",
                "output.dense": "ffn.down_proj",
                "output.LayerNorm": "ffn_norm",
            }.items()
            for move in linear(f"{base}encoder.layer.{{i}}.{name}", f"layers.{{i}}.{own}", bias=True)
        ),
    )
    return (
        same(f"{base}embeddings.word_embeddings.weight", "embedding.weight"),
        same(f"{base}embeddings.position_embeddings.weight", "position_embedding.weight"),
        same(f"{base}embeddings.token_type_embeddings.weight", "token_type_embedding.weight"),
        *linear(f"{base}embeddings.LayerNorm", "embedding_norm", bias=True),
        *every_layer(config["num_hidden_layers"], layer),
    )


def num_labels(config: Config) -> int:
    """Classes of a classifier: as many as have names; transformers names two where a config says nothing.

    Unspoken for names that are no mapping, and a number that is none.
    """
    named, counted = config.get("id2label"), config.get("num_labels")
    if named is not None and not isinstance(named, Mapping):
        raise Unspoken(("id2label",), named, "it is a mapping from a class to its name")
    if named:
        return len(named)
    if counted is not None and (not isinstance(counted, int) or counted < 1):
        raise Unspoken(("num_labels",), counted, "it is a whole number, 1 or more")
    return counted or 2


def labels(head: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a config that say how many classes there are."""
    count = head["num_labels"]
    names = {f"LABEL_{index}": index for index in range(count)}
    return {"id2label": {str(index): name for name, index in names.items()}, "label2id": names}


def dense_activation(name: str, key: str) -> str:
    """The activation of a single dense layer in our words. Unspoken for one that we have not."""
    if name not in _DENSE:
        raise Unspoken((key,), name, f"the activations of a head's dense layer are {', '.join(sorted(_DENSE))}")
    return _DENSE[name]


def classifier_dropout(config: Config) -> float:
    """What is dropped before the classifier: the share of the layers where the config says nothing."""
    own = config["classifier_dropout"]
    return float(config["hidden_dropout_prob"] if own is None else own)
