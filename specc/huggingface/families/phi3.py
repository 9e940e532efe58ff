"""Phi-3 and Phi-4-mini (Abdin et al. 2024, arXiv:2404.14219)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32064,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-05,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "bos_token_id": 1,
    "eos_token_id": 32000,
    "pad_token_id": 32000,
    "sliding_window": None,
}


def read(config: Config) -> Section:
    """The `model:` section: one window for all layers, part of each head turned, LongRoPE."""
    angles = config["rope_parameters"]
    if angles["rope_type"] not in ("default", "longrope"):
        reason = "Phi-3 turns by plain angles or by those of `longrope`"
        raise Unspoken(("rope_parameters", "rope_type"), angles["rope_type"], reason)
    # The class keeps the original context beside the angles and lets it win over one among them.
    turned = {**config, "rope_parameters": {**angles, rope.ORIGINAL: config[rope.ORIGINAL]}}
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": parts.llama_attention(config, window=config["sliding_window"]),
            "position": rope.position(turned, config["max_position_embeddings"]),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": parts.llama_ffn(config),
            "dropout": parts.dropout(attention=config["attention_dropout"], residual=config["resid_pdrop"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Queries, keys and values are one tensor on disk, gate and up another."""
    heads = config["num_attention_heads"]
    width = config["head_dim"] or config["hidden_size"] // heads
    keys = (config["num_key_value_heads"] or heads) * width
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *layers.fused_attention((heads * width, keys, keys)),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
        *layers.fused_ffn(config["intermediate_size"]),
    )
    return layers.whole(config, layer)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    position = model["position"]
    original = position.get("original_context_length", "auto")
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(position, partial=True),
        **({} if original == "auto" else {rope.ORIGINAL: original}),
        "rms_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "sliding_window": model["attention"].get("window"),
        "attention_dropout": parts.dropped(model, "attention"),
        "resid_pdrop": parts.dropped(model, "residual"),
    }


_WITHOUT = "the class has no such part"
PHI3 = Family(
    "phi3",
    ("Phi3ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(partial=1.0),
    only={
        "embd_pdrop": Only((0.0,), "the class has no dropout after the embedding, whatever its config says"),
        "attention_bias": Only((False, None), _WITHOUT),
        "mlp_bias": Only((False, None), _WITHOUT),
        "lm_head_bias": Only((False, None), _WITHOUT),
        "full_attn_mod": Only((1, None), "every layer has the window"),
        "interpolate_factor": Only((1, None), _WITHOUT),
    },
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
