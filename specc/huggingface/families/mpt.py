"""MPT (MosaicML 2023), as transformers 5.23 computes it.

Its class reads few of the keys that its config has: no biases, ALiBi with slopes up to 8, four times the width inside,
whatever the config says. A value that claims another computation is an error: the checkpoint would be another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Config, Family, Only, Section
from specc.huggingface.tensors import Move, every_layer, joined, same
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "d_model": 2048,
    "n_heads": 16,
    "n_layers": 24,
    "expansion_ratio": 4,
    "max_seq_len": 2048,
    "vocab_size": 50368,
    "resid_pdrop": 0.0,
    "layer_norm_epsilon": 1e-5,
    "emb_pdrop": 0.0,
    "learned_pos_emb": True,
    "attn_config": None,
    "init_device": "cpu",
    "logit_scale": None,
    "no_bias": True,
    "embedding_fraction": 1.0,
    "norm_type": "low_precision_layernorm",
    "use_cache": False,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
ATTENTION: dict[str, Any] = {
    "attn_type": "multihead_attention",
    "attn_pdrop": 0,
    "attn_impl": "torch",
    "clip_qkv": None,
    "softmax_scale": None,
    "prefix_lm": False,
    "qk_ln": False,
    "attn_uses_sequence_id": False,
    "alibi": True,
    "alibi_bias_max": 8,
}
"""Keys of `attn_config` with their defaults."""
_USED = frozenset({"attn_pdrop", "clip_qkv", "softmax_scale"})
_NEUTRAL = frozenset({"attn_impl"})
# Keys that every config of transformers has, also the one that lies in another.
_SHARED = frozenset({
    "architectures", "output_hidden_states", "return_dict", "dtype", "torch_dtype", "chunk_size_feed_forward",
    "is_encoder_decoder", "id2label", "label2id", "problem_type", "_name_or_path", "model_type", "output_attentions",
    "transformers_version",
})  # fmt: skip


def read(config: Config) -> Section:
    """The `model:` section."""
    width, heads, attention = config["d_model"], config["n_heads"], _attention(config)
    share = attention["attn_pdrop"]
    return parts.decoder(
        {
            "hidden_size": width,
            "num_layers": config["n_layers"],
            "context_length": config["max_seq_len"],
            "vocab_size": config["vocab_size"],
            "tie_embeddings": config["tie_word_embeddings"],
            "attention": parts.attention(
                width,
                heads,
                heads,
                width // heads,
                clip_qkv=attention["clip_qkv"] or None,
                scale="auto" if attention["softmax_scale"] is None else attention["softmax_scale"],
            ),
            "position": {"kind": "alibi"},
            "norm": {"kind": "layernorm", "eps": config["layer_norm_epsilon"], "bias": False},
            "ffn": parts.two_matrices("gelu", "", 4 * width, bias=False),
            # One number for scores and both outputs (MptBlock and MptMLP read `attn_pdrop`).
            "dropout": parts.dropout(attention=share, residual=share),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """Queries, keys and values are joined along their rows."""
    base, ours = "transformer.blocks.{i}", "layers.{i}"
    fused = tuple(f"{ours}.attention.{name}_proj" for name in "qkv")
    layer = (
        same(f"{base}.norm_1.weight", f"{ours}.attention_norm.weight"),
        *joined(f"{base}.attn.Wqkv", fused, (config["d_model"],) * 3, bias=False),
        same(f"{base}.attn.out_proj.weight", f"{ours}.attention.o_proj.weight"),
        same(f"{base}.norm_2.weight", f"{ours}.ffn_norm.weight"),
        same(f"{base}.ffn.up_proj.weight", f"{ours}.ffn.up_proj.weight"),
        same(f"{base}.ffn.down_proj.weight", f"{ours}.ffn.down_proj.weight"),
    )
    return (
        same("transformer.wte.weight", "embedding.weight"),
        *every_layer(config["n_layers"], layer),
        same("transformer.norm_f.weight", "norm.weight"),
        *(() if config["tie_word_embeddings"] else (same("lm_head.weight", "lm_head.weight"),)),
    )


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    attention, scale = model["attention"], model["attention"].get("scale", "auto")
    return {
        "d_model": model["hidden_size"],
        "n_heads": attention["num_heads"],
        "n_layers": model["num_layers"],
        "max_seq_len": model["context_length"],
        "vocab_size": model["vocab_size"],
        "layer_norm_epsilon": model["norm"]["eps"],
        "tie_word_embeddings": model["tie_embeddings"],
        "attn_config": {
            **ATTENTION,
            "clip_qkv": attention.get("clip_qkv"),
            "softmax_scale": None if scale == "auto" else scale,
            "attn_pdrop": model.get("dropout", {}).get("attention", 0),
        },
    }


def _attention(config: Config) -> dict[str, Any]:
    """`attn_config` with its defaults. Unspoken for a key that is unknown, or that transformers ignores."""
    written = {key: value for key, value in (config["attn_config"] or {}).items() if key not in _SHARED}
    for key, value in written.items():
        if key not in ATTENTION:
            raise Unspoken(("attn_config", key), value, f"the keys known are {', '.join(ATTENTION)}")
        if key not in _USED | _NEUTRAL and value != ATTENTION[key]:
            reason = f"`MptForCausalLM` ignores it and computes `{ATTENTION[key]}`, which is not what it says"
            raise Unspoken(("attn_config", key), value, reason)
    return {**ATTENTION, **written}


def _ignored(*values: Any) -> Only:
    said = " or ".join(f"`{value}`" for value in values)
    return Only(values, f"`MptForCausalLM` ignores it and computes {said}, which is not what it says")


MPT = Family(
    "mpt",
    ("MptForCausalLM", "MPTForCausalLM"),
    DEFAULTS,
    read,
    moves,
    write,
    only={
        "expansion_ratio": _ignored(4),
        "resid_pdrop": _ignored(0),
        "emb_pdrop": _ignored(0),
        "logit_scale": _ignored(None),
        "no_bias": _ignored(True),
        "embedding_fraction": _ignored(1),
        "norm_type": _ignored("low_precision_layernorm", "layernorm"),
    },
    # With ALiBi there is no table of positions, whatever `learned_pos_emb` says (llm-foundry, MPTConfig).
    neutral=frozenset({"learned_pos_emb", "init_device", "init_config", "verbose", "tokenizer_name"}),
    nullable=frozenset({"logit_scale"}),
    old_names={"hidden_size": "d_model", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
)
