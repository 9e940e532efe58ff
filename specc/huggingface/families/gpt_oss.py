"""gpt-oss (OpenAI 2025, arXiv:2508.10925): sinks, experts with biases and clamped gates, windows by turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import experts, layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move, linear, same

DEFAULTS: dict[str, Any] = {
    "num_hidden_layers": 36,
    "num_local_experts": 128,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": None,
    "attention_dropout": 0.0,
    "num_experts_per_tok": 4,
    "swiglu_alpha": 1.702,
    "swiglu_limit": 7.0,
    "router_aux_loss_coef": 0.001,
    "output_router_logits": False,
    "use_cache": True,
    "layer_types": None,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    "attention_bias": True,
}
_ANGLES: dict[str, Any] = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
"""What the config class fills in where a config says nothing of angles."""


def read(config: Config) -> Section:
    """The `model:` section."""
    bias = "all" if config["attention_bias"] else "none"
    moe = {
        "num_experts": config["num_local_experts"],
        "experts_per_token": config["num_experts_per_tok"],
        "intermediate_size": config["intermediate_size"],
        "activation": "clamped_swiglu",
        "bias": True,
        "router_bias": True,
        "balancing": experts.balancing(config),
    }
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, bias=bias, sinks=True, **_windows(config)),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": experts.section(moe, (), config["num_hidden_layers"], 0),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """All experts lie in one tensor, as [expert, in, out], with the columns of gate and up by turns."""
    bias, theirs, ours = config["attention_bias"], f"{layers.LAYER}.mlp", f"{layers.OURS}.ffn"
    gate_up = (f"{ours}.experts.gate_proj", f"{ours}.experts.up_proj")
    biases = tuple(f"{name}_bias" for name in gate_up)
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.attention(qkv_bias=bias, o_bias=bias),
        same(f"{layers.LAYER}.self_attn.sinks", f"{layers.OURS}.attention.sinks"),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
        *linear(f"{theirs}.router", f"{ours}.router", bias=True),
        Move(f"{theirs}.experts.gate_up_proj", gate_up, "interleaved_transposed"),
        Move(f"{theirs}.experts.gate_up_proj_bias", biases, "interleaved"),
        Move(f"{theirs}.experts.down_proj", (f"{ours}.experts.down_proj",), "transposed"),
        same(f"{theirs}.experts.down_proj_bias", f"{ours}.experts.down_proj_bias"),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    ffn = experts.filled(model["ffn"])
    return {
        **parts.their_sizes(model),
        "num_local_experts": ffn["num_experts"],
        "num_experts_per_tok": ffn["experts_per_token"],
        **experts.their_loss(ffn),
        "sliding_window": model["attention"].get("window"),
        "layer_types": parts.layer_types(model),
        "attention_bias": model["attention"].get("bias", "none") == "all",
        "rope_parameters": rope.parameters(model["position"]),
        "rms_norm_eps": model["norm"]["eps"],
        "attention_dropout": model.get("dropout", {}).get("attention", 0.0),
    }


def _windows(config: Config) -> Section:
    made = [rope.GLOBAL if index % 2 else rope.LOCAL for index in range(config["num_hidden_layers"])]
    return parts.windows(config["layer_types"] or made, config["sliding_window"])


_FIXED = "experts have one activation, whose alpha is 1.702 and limit 7"
GPT_OSS = Family(
    "gpt_oss",
    ("GptOssForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(theta=150_000.0, angles=_ANGLES),
    only={
        "swiglu_alpha": Only((1.702,), _FIXED),
        "swiglu_limit": Only((7.0,), _FIXED),
        "hidden_act": Only(("silu",), "experts have one activation, which is made of `silu`"),
    },
    # What no loss is multiplied by where `output_router_logits` is false, and what older configs say twice.
    neutral=frozenset({experts.COEFFICIENT, "experts_per_token", "initial_context_length"}),
    nullable=frozenset({"sliding_window", "num_key_value_heads"}),
    old_names={"num_experts": "num_local_experts"},
)
