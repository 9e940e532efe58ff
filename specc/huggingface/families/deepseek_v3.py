"""DeepSeek-V3 and R1 (DeepSeek-AI 2024, arXiv:2412.19437): latent attention, experts balanced by a bias.

The published checkpoint also holds the layers that predict one token further (multi-token prediction, section 2.2).
transformers 5.23 does not read them, and neither do we: they lie behind the last layer, and are ignored by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import experts, latent, layers, parts, rope
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move, same
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "output_router_logits": False,
    "routed_scaling_factor": 2.5,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "qk_nope_head_dim": 128,
    "n_group": 8,
    "topk_group": 4,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "norm_topk_prob": True,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "rope_interleave": True,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "num_mtp_layers": 1,
}
UPDATE_RATE = 0.001
"""Speed of the bias (the paper, section 4.2); its value is trained, its speed no key of the config."""


def read(config: Config) -> Section:
    """The `model:` section."""
    experts.silu(config)
    layout = "interleaved" if config["rope_interleave"] else "half_split"
    moe = {
        **sizes(config),
        "scoring": "sigmoid",
        "normalize_weights": config["norm_topk_prob"],
        "num_groups": config["n_group"],
        "groups_per_token": config["topk_group"],
        "group_score": "top2_sum",
        "balancing": {"kind": "bias", "update_rate": UPDATE_RATE},
    }
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": latent.attention(config),
            "position": position(config, layout),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": experts.section(moe, dense(config), config["num_hidden_layers"], config["intermediate_size"]),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """The bias that balances experts is no parameter, and lies in the checkpoint all the same."""
    bias = f"{layers.LAYER}.mlp.gate.e_score_correction_bias"
    return whole(config, (*mixture(config), same(bias, f"{layers.OURS}.ffn.router.correction")), bias=False)


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    ffn = experts.filled(model["ffn"])
    return {
        **latent.written(model),
        **their_experts(model),
        "norm_topk_prob": ffn["normalize_weights"],
        "n_group": ffn["num_groups"],
        "topk_group": ffn["groups_per_token"] or ffn["num_groups"],
        "rope_interleave": model["position"].get("layout", "half_split") == "interleaved",
        "num_mtp_layers": 0,
    }


def sizes(config: Config) -> Section:
    """What both generations say of their experts in the same words: shared ones are one of several times the width."""
    shared: Section = {"num_shared_experts": config["n_shared_experts"]}
    return {
        "num_experts": config["n_routed_experts"],
        "experts_per_token": config["num_experts_per_tok"],
        "intermediate_size": config["moe_intermediate_size"],
        **shared,
        "routed_scaling_factor": config["routed_scaling_factor"],
    }


def their_experts(model: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `sizes`, with the layers without experts. KeyError where those are not the first ones."""
    ffn = experts.filled(model["ffn"])
    plain = ffn["dense"] or {"layers": [], "intermediate_size": ffn["intermediate_size"]}
    if list(plain["layers"]) != list(range(len(plain["layers"]))):
        raise KeyError(f"layers without experts are the first ones there, not {list(plain['layers'])}")
    return {
        "intermediate_size": plain["intermediate_size"],
        "first_k_dense_replace": len(plain["layers"]),
        "n_routed_experts": ffn["num_experts"],
        "num_experts_per_tok": ffn["experts_per_token"],
        "moe_intermediate_size": ffn["intermediate_size"],
        "n_shared_experts": ffn["num_shared_experts"],
        "routed_scaling_factor": ffn["routed_scaling_factor"],
    }


def position(config: Config, layout: str) -> Section:
    """Rotary positions of neighbours, or of halves."""
    angles = rope.position(config, config["max_position_embeddings"])
    return {"kind": angles["kind"], "layout": layout, **angles} if layout != "half_split" else angles


def dense(config: Config) -> tuple[int, ...]:
    """Layers without experts: the first ones."""
    return tuple(range(min(config["first_k_dense_replace"], config["num_hidden_layers"])))


def mixture(config: Config) -> tuple[Move, ...]:
    """Router, experts and the shared expert of a layer."""
    names = {name: name for name in (experts.GATE, experts.UP, experts.DOWN)}
    return (
        experts.router("mlp.gate"),
        *experts.one_by_one("mlp.experts", names, config["n_routed_experts"]),
        *experts.shared("mlp.shared_experts"),
    )


def whole(config: Config, mixed: tuple[Move, ...], *, bias: bool) -> tuple[Move, ...]:
    """All tensors; `bias` is whether plain feed-forwards have one."""
    layer = (
        *layers.norm("input_layernorm", "attention_norm"),
        *latent.moves(config),
        *layers.norm("post_attention_layernorm", "ffn_norm"),
    )
    plain = layers.gated_ffn(bias=bias)
    blocks = experts.per_layer(config["num_hidden_layers"], layer, dense(config), plain, mixed)
    return (*layers.whole({**config, "num_hidden_layers": 0}, ()), *blocks)


def _further_tokens(config: Config) -> dict[str, str]:
    """Layers for multi-token prediction, which lie behind the last one."""
    first, count = config["num_hidden_layers"], config["num_mtp_layers"]
    if not isinstance(count, int):
        raise Unspoken(("num_nextn_predict_layers",), count, "it is a whole number")
    said = "layers that predict one token further are not read, and `DeepseekV3ForCausalLM` does not read them either"
    return {rf"model\.layers\.{first + index}\..*": said for index in range(count)}


DEEPSEEK_V3 = Family(
    "deepseek_v3",
    ("DeepseekV3ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={
        "scoring_func": Only(("sigmoid",), "`DeepseekV3ForCausalLM` computes `sigmoid`, whatever it says"),
        "topk_method": Only(("noaux_tc",), "`DeepseekV3ForCausalLM` computes `noaux_tc`, whatever it says"),
        "moe_layer_freq": Only((1,), "`DeepseekV3ForCausalLM` has experts in every layer after the first ones"),
    },
    # What the forward pass returns, how the original program was cut and trained, sizes that follow from others, and
    # the number of layers for multi-token prediction, which are not read.
    neutral=frozenset(
        {
            "output_router_logits",
            "pretraining_tp",
            "ep_size",
            "aux_loss_alpha",
            "seq_aux",
            "qk_head_dim",
            "head_dim",
            "num_mtp_layers",
        }
    ),
    nullable=frozenset({"num_key_value_heads", "q_lora_rank"}),
    old_names={"num_local_experts": "n_routed_experts", "num_nextn_predict_layers": "num_mtp_layers"},
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
    unread=_further_tokens,
)
