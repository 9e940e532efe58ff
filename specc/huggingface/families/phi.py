"""Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023, arXiv:2306.11644; Li et al. 2023, arXiv:2309.05463)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import layers, parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 51200,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attention_dropout": 0.0,
    "hidden_act": "gelu_new",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-05,
    "use_cache": True,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "qk_layernorm": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}


def read(config: Config) -> Section:
    """The `model:` section: attention and feed-forward side by side after one norm, half of each head turned."""
    norm = {"kind": "layernorm", "eps": config["layer_norm_eps"]}
    return parts.decoder(
        {
            **parts.sizes(config),
            "residual": "parallel",
            "attention": parts.llama_attention(config, bias="all", qk_norm=norm if config["qk_layernorm"] else None),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": norm,
            "ffn": parts.two_matrices(config["hidden_act"], "hidden_act", config["intermediate_size"], bias=True),
            "head": parts.head(bias=True),
            "dropout": parts.dropout(
                embedding=config["embd_pdrop"], attention=config["attention_dropout"], residual=config["resid_pdrop"]
            ),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Each projection has a tensor of its own on both sides; a block has one norm, the head a bias."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm", bias=True),
        *layers.attention(qkv_bias=True, o_bias=True, o_proj="dense"),
        *(layers.qk_norm("q_layernorm", "k_layernorm", bias=True) if config["qk_layernorm"] else ()),
        *layers.plain_ffn("mlp.fc1", "mlp.fc2", bias=True),
    )
    return (
        *layers.whole(config, layer, norm="model.final_layernorm", bias=True),
        same("lm_head.bias", "lm_head.bias"),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    return {
        **parts.their_sizes(model, knows_head_dim=False),
        "rope_parameters": rope.parameters(model["position"], partial=True),
        "layer_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "qk_layernorm": model["attention"].get("qk_norm") is not None,
        "embd_pdrop": parts.dropped(model, "embedding"),
        "attention_dropout": parts.dropped(model, "attention"),
        "resid_pdrop": parts.dropped(model, "residual"),
    }


PHI = Family(
    "phi",
    ("PhiForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(partial=0.5),
    old_keys={"head_dim": int},
    ignored=layers.OLD_BUFFERS,
)
