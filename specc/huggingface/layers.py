"""Moves that many families share: theirs are called as in Llama unless said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from specc.huggingface.tensors import Move, every_layer, joined, linear, same

LAYER = "model.layers.{i}"
OURS = "layers.{i}"
OLD_BUFFERS = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq")
"""Tables of angles that older checkpoints hold: they are computed."""


def whole(
    config: Mapping[str, Any], layer: Iterable[Move], *, norm: str = "model.norm", bias: bool = False
) -> tuple[Move, ...]:
    """Embedding, layers, last norm, and the head where it has a table of its own; `bias` is whether norms have one."""
    head = () if config["tie_word_embeddings"] else (same("lm_head.weight", "lm_head.weight"),)
    return (
        same("model.embed_tokens.weight", "embedding.weight"),
        *every_layer(config["num_hidden_layers"], layer),
        *linear(norm, "norm", bias=bias),
        *head,
    )


def norm(theirs: str, ours: str, *, bias: bool = False) -> tuple[Move, ...]:
    """A norm of a block."""
    return linear(f"{LAYER}.{theirs}", f"{OURS}.{ours}", bias=bias)


def attention(*, qkv_bias: bool, o_bias: bool, o_proj: str = "o_proj") -> tuple[Move, ...]:
    """Four projections with a tensor each."""
    queries = (
        move
        for name in ("q_proj", "k_proj", "v_proj")
        for move in linear(f"{LAYER}.self_attn.{name}", f"{OURS}.attention.{name}", bias=qkv_bias)
    )
    return (*queries, *linear(f"{LAYER}.self_attn.{o_proj}", f"{OURS}.attention.o_proj", bias=o_bias))


def qk_norm(queries: str = "q_norm", keys: str = "k_norm", *, bias: bool = False) -> tuple[Move, ...]:
    """Norms of queries and keys."""
    pairs = ((queries, "q_norm"), (keys, "k_norm"))
    return tuple(move for theirs, ours in pairs for move in norm(f"self_attn.{theirs}", f"attention.{ours}", bias=bias))


def gated_ffn(*, bias: bool = False) -> tuple[Move, ...]:
    """Gate, up and down with a tensor each."""
    names = ("gate_proj", "up_proj", "down_proj")
    return tuple(move for name in names for move in norm(f"mlp.{name}", f"ffn.{name}", bias=bias))


def plain_ffn(up: str, down: str, *, bias: bool) -> tuple[Move, ...]:
    """Up and down with a tensor each."""
    return (*norm(up, "ffn.up_proj", bias=bias), *norm(down, "ffn.down_proj", bias=bias))


def fused_attention(rows: Iterable[int]) -> tuple[Move, ...]:
    """Queries, keys and values in one tensor, so many rows of each (Phi-3)."""
    ours = tuple(f"{OURS}.attention.{name}" for name in ("q_proj", "k_proj", "v_proj"))
    return (
        *joined(f"{LAYER}.self_attn.qkv_proj", ours, rows, bias=False),
        *norm("self_attn.o_proj", "attention.o_proj"),
    )


def fused_ffn(rows: int) -> tuple[Move, ...]:
    """Gate and up in one tensor, `rows` rows of each (Phi-3)."""
    ours = tuple(f"{OURS}.ffn.{name}" for name in ("gate_proj", "up_proj"))
    return (
        *joined(f"{LAYER}.mlp.gate_up_proj", ours, (rows, rows), bias=False),
        *norm("mlp.down_proj", "ffn.down_proj"),
    )
