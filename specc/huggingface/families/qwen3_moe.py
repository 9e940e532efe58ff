"""Qwen3 with experts (Qwen Team 2025, arXiv:2505.09388): norms of queries and keys, no shared expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import experts, layers, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move

DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "attention_dropout": 0.0,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 768,
    "num_experts_per_tok": 8,
    "num_experts": 128,
    "norm_topk_prob": False,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "mlp_only_layers": None,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def read(config: Config) -> Section:
    """The `model:` section."""
    experts.silu(config)
    norm = {"kind": "rmsnorm", "eps": config["rms_norm_eps"]}
    window = config["sliding_window"] if config["use_sliding_window"] else None
    bias = "all" if config["attention_bias"] else "none"
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, bias=bias, qk_norm=norm, window=window),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": norm,
            "ffn": feed_forward(config, {}),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """One tensor an expert and projection; layers without experts have a plain feed-forward."""
    bias = config["attention_bias"]
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=bias, o_bias=bias),
        *layers.qk_norm(),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
    )
    return whole(config, layer, mixture(config))


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    window = model["attention"].get("window")
    return {
        **experts.their_sizes(model),
        **their_experts(model),
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "attention_bias": model["attention"].get("bias", "none") == "all",
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "attention_dropout": model.get("dropout", {}).get("attention", 0.0),
    }


def feed_forward(config: Config, shared: Section) -> Section:
    """Experts in every `decoder_sparse_step`-th layer but those named; `shared` is what the family adds."""
    moe = {
        "num_experts": config["num_experts"],
        "experts_per_token": config["num_experts_per_tok"],
        "intermediate_size": config["moe_intermediate_size"],
        **shared,
        "normalize_weights": config["norm_topk_prob"],
        "balancing": experts.balancing(config),
    }
    return experts.section(moe, dense(config), config["num_hidden_layers"], config["intermediate_size"])


def their_experts(model: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `feed_forward`: layers without experts are named one by one."""
    ffn = experts.filled(model["ffn"])
    plain = ffn["dense"] or {"layers": [], "intermediate_size": ffn["intermediate_size"]}
    return {
        "intermediate_size": plain["intermediate_size"],
        "mlp_only_layers": list(plain["layers"]),
        "num_experts": ffn["num_experts"],
        "num_experts_per_tok": ffn["experts_per_token"],
        "moe_intermediate_size": ffn["intermediate_size"],
        "norm_topk_prob": ffn["normalize_weights"],
        **experts.their_loss(ffn),
    }


def mixture(config: Config) -> tuple[Move, ...]:
    """Router and experts of a layer."""
    names = {name: name for name in (experts.GATE, experts.UP, experts.DOWN)}
    return (experts.router("mlp.gate"), *experts.one_by_one("mlp.experts", names, config["num_experts"]))


def whole(config: Config, layer: tuple[Move, ...], mixed: tuple[Move, ...]) -> tuple[Move, ...]:
    """All tensors of a model of which some layers are plain."""
    blocks = experts.per_layer(config["num_hidden_layers"], layer, dense(config), layers.gated_ffn(), mixed)
    return (*layers.whole({**config, "num_hidden_layers": 0}, ()), *blocks)


def dense(config: Config) -> tuple[int, ...]:
    """Layers without experts (Qwen3MoeDecoderLayer)."""
    step, plain = config["decoder_sparse_step"], config["mlp_only_layers"] or ()
    count = config["num_hidden_layers"]
    return tuple(i for i in range(count) if i in plain or (i + 1) % step or not config["num_experts"])


QWEN3_MOE = Family(
    "qwen3_moe",
    ("Qwen3MoeForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    # What no loss is multiplied by where `output_router_logits` is false; and which layers once had windows.
    neutral=frozenset({experts.COEFFICIENT, "max_window_layers"}),
    nullable=frozenset({"sliding_window"}),
    old_names={"num_local_experts": "num_experts"},
    old_keys={"head_dim": int},
)
