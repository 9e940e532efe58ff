"""Qwen1.5 and Qwen2 with experts (Qwen Team 2024, arXiv:2407.10671, section 2.2.2): a shared expert with a gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import experts, layers, parts, rope
from specc.huggingface.families import qwen3_moe
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
    "attention_dropout": 0.0,
    "decoder_sparse_step": 1,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_experts_per_tok": 4,
    "num_experts": 60,
    "norm_topk_prob": False,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "mlp_only_layers": None,
    "qkv_bias": True,
    "layer_types": None,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}


def read(config: Config) -> Section:
    """The `model:` section."""
    experts.silu(config)
    bias = "qkv" if config["qkv_bias"] else "none"
    shared: Section = {
        "num_shared_experts": 1,
        "shared_intermediate_size": config["shared_expert_intermediate_size"],
        "shared_gate": True,
    }
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, bias=bias, **_windows(config)),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": qwen3_moe.feed_forward(config, shared),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """As in Qwen3, with the shared expert and its gate."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=config["qkv_bias"], o_bias=False),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
    )
    gate = f"{layers.LAYER}.mlp.shared_expert_gate.weight"
    mixed = (
        *qwen3_moe.mixture(config),
        *experts.shared("mlp.shared_expert"),
        same(gate, f"{layers.OURS}.ffn.shared_gate.weight"),
    )
    return qwen3_moe.whole(config, layer, mixed)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    window = model["attention"].get("window")
    return {
        **experts.their_sizes(model),
        **qwen3_moe.their_experts(model),
        "shared_expert_intermediate_size": experts.filled(model["ffn"])["shared_intermediate_size"],
        "use_sliding_window": window is not None,
        "sliding_window": window,
        "layer_types": parts.layer_types(model),
        "qkv_bias": model["attention"].get("bias", "none") == "qkv",
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "attention_dropout": model.get("dropout", {}).get("attention", 0.0),
    }


def _windows(config: Config) -> Section:
    """Windows in every second layer of the first `max_window_layers`, unless layers are named (Qwen2MoeConfig)."""
    if not config["use_sliding_window"]:
        return parts.windows(config["layer_types"] or (), None)
    until = config["max_window_layers"]
    count = config["num_hidden_layers"]
    made = (rope.LOCAL if (i + 1) % 2 and i < until else rope.GLOBAL for i in range(count))
    return parts.windows(config["layer_types"] or list(made), config["sliding_window"])


QWEN2_MOE = Family(
    "qwen2_moe",
    ("Qwen2MoeForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    # What no loss is multiplied by where `output_router_logits` is false.
    neutral=frozenset({experts.COEFFICIENT}),
    nullable=frozenset({"num_key_value_heads", "sliding_window"}),
)
