"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): eight experts, of which a token uses two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import experts, layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-5,
    "use_cache": True,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "sliding_window": None,
    "attention_dropout": 0.0,
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "router_jitter_noise": 0.0,
    "rope_parameters": None,
}


def read(config: Config) -> Section:
    """The `model:` section: weights of the chosen experts sum to 1 (MixtralTopKRouter)."""
    experts.silu(config)
    moe = {
        "num_experts": config["num_local_experts"],
        "experts_per_token": config["num_experts_per_tok"],
        "intermediate_size": config["intermediate_size"],
        "balancing": experts.balancing(config),
    }
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, window=config["sliding_window"]),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": experts.section(moe, (), config["num_hidden_layers"], 0),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """One tensor an expert and projection, called w1 (gate), w3 (up) and w2 (down)."""
    names = {experts.GATE: "w1", experts.UP: "w3", experts.DOWN: "w2"}
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=False, o_bias=False),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
        experts.router("block_sparse_moe.gate"),
        *experts.one_by_one("block_sparse_moe.experts", names, config["num_local_experts"]),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    ffn = experts.filled(model["ffn"])
    return {
        **experts.their_sizes(model),
        "num_local_experts": ffn["num_experts"],
        "num_experts_per_tok": ffn["experts_per_token"],
        **experts.their_loss(ffn),
        "sliding_window": model["attention"].get("window"),
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "attention_dropout": model.get("dropout", {}).get("attention", 0.0),
    }


MIXTRAL = Family(
    "mixtral",
    ("MixtralForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(theta=1_000_000.0),
    only={"router_jitter_noise": Only((0,), "what experts read is not disturbed in training")},
    # What no loss is multiplied by where `output_router_logits` is false.
    neutral=frozenset({experts.COEFFICIENT}),
    nullable=frozenset({"num_key_value_heads"}),
    old_names={"num_experts": "num_local_experts"},
)
