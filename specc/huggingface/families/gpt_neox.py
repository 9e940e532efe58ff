"""GPT-NeoX and Pythia (Black et al. 2022, arXiv:2204.06745; Biderman et al. 2023, arXiv:2304.01373)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts, rope
from specc.huggingface.family import Config, Family, Rope, Section
from specc.huggingface.tensors import Move, every_layer, joined, linear, same

DEFAULTS: dict[str, Any] = {
    "vocab_size": 50432,
    "hidden_size": 6144,
    "num_hidden_layers": 44,
    "num_attention_heads": 64,
    "intermediate_size": 24576,
    "hidden_act": "gelu",
    "attention_dropout": 0.0,
    "hidden_dropout": 0.0,
    "classifier_dropout": 0.1,
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-5,
    "use_cache": True,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": None,
    "tie_word_embeddings": False,
    "use_parallel_residual": True,
    "rope_parameters": None,
    "attention_bias": True,
    "is_decoder": False,
}


def read(config: Config) -> Section:
    """The `model:` section: two norms read the same stream where attention and feed-forward stand side by side."""
    bias = "all" if config["attention_bias"] else "none"
    hidden = config["hidden_dropout"]
    return parts.decoder(
        {
            **parts.sizes(config),
            "residual": "parallel_two_norms" if config["use_parallel_residual"] else "sequential",
            "attention": parts.llama_attention(config, bias=bias),
            "position": rope.position(config, config["max_position_embeddings"]),
            "norm": {"kind": "layernorm", "eps": config["layer_norm_eps"]},
            "ffn": parts.two_matrices(config["hidden_act"], "hidden_act", config["intermediate_size"], bias=True),
            "dropout": parts.dropout(embedding=hidden, attention=config["attention_dropout"], residual=hidden),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Queries, keys and values are joined head by head: [heads, 3, values per head]."""
    base, ours, bias = "gpt_neox.layers.{i}", "layers.{i}", config["attention_bias"]
    heads = config["num_attention_heads"]
    rows = (config["hidden_size"] // heads,) * 3
    fused = tuple(f"{ours}.attention.{name}_proj" for name in "qkv")
    layer = (
        *linear(f"{base}.input_layernorm", f"{ours}.attention_norm", bias=True),
        *joined(f"{base}.attention.query_key_value", fused, rows, bias=bias, groups=heads),
        *linear(f"{base}.attention.dense", f"{ours}.attention.o_proj", bias=bias),
        *linear(f"{base}.post_attention_layernorm", f"{ours}.ffn_norm", bias=True),
        *linear(f"{base}.mlp.dense_h_to_4h", f"{ours}.ffn.up_proj", bias=True),
        *linear(f"{base}.mlp.dense_4h_to_h", f"{ours}.ffn.down_proj", bias=True),
    )
    return (
        same("gpt_neox.embed_in.weight", "embedding.weight"),
        *every_layer(config["num_hidden_layers"], layer),
        *linear("gpt_neox.final_layer_norm", "norm", bias=True),
        *(() if config["tie_word_embeddings"] else (same("embed_out.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    dropped = {**parts.DROPOUT, **model.get("dropout", {})}
    sizes = parts.their_sizes(model)
    return {
        **{key: value for key, value in sizes.items() if key not in ("num_key_value_heads", "head_dim")},
        "use_parallel_residual": model.get("residual", "sequential") != "sequential",
        "rope_parameters": rope.parameters(model["position"], partial=True),
        "layer_norm_eps": model["norm"]["eps"],
        "hidden_act": parts.activation(model["ffn"]),
        "attention_bias": model["attention"].get("bias", "none") != "none",
        "hidden_dropout": dropped["residual"],
        "attention_dropout": dropped["attention"],
    }


GPT_NEOX = Family(
    "gpt_neox",
    ("GPTNeoXForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(partial=0.25, theta_key="rotary_emb_base", partial_key="rotary_pct"),
    neutral=frozenset({"classifier_dropout", "is_decoder"}),
    ignored=(r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",),
)
