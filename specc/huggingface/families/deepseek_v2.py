"""DeepSeek-V2 and V2-Lite (DeepSeek-AI 2024, arXiv:2405.04434): latent attention, experts in groups of devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from specc.huggingface import experts, latent, parts
from specc.huggingface.families import deepseek_v3
from specc.huggingface.family import Config, Family, Only, Rope, Section
from specc.huggingface.tensors import Move
from specc.huggingface.unspoken import Unspoken

DEFAULTS: dict[str, Any] = {
    "vocab_size": 102400,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "rope_parameters": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "head_dim": None,
    "first_k_dense_replace": 0,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "n_group": None,
    "n_routed_experts": 64,
    "output_router_logits": False,
    "n_shared_experts": 2,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "routed_scaling_factor": 1.0,
    "topk_group": None,
    "topk_method": "greedy",
    "norm_topk_prob": False,
    "v_head_dim": 128,
    "num_experts_per_tok": None,
    "moe_intermediate_size": 1407,
}


def read(config: Config) -> Section:
    """The `model:` section: weights of the chosen experts keep their sum below 1, times a factor."""
    experts.silu(config)
    if config["num_experts_per_tok"] is None:
        raise Unspoken(("num_experts_per_tok",), None, "it has no default that a model could run with")
    moe = {**deepseek_v3.sizes(config), "normalize_weights": False, **_groups(config), "balancing": {"kind": "none"}}
    return parts.decoder(
        {
            **parts.sizes(config),
            "attention": latent.attention(config),
            "position": deepseek_v3.position(config, "interleaved"),
            "norm": {"kind": "rmsnorm", "eps": config["rms_norm_eps"]},
            "ffn": experts.section(
                moe, deepseek_v3.dense(config), config["num_hidden_layers"], config["intermediate_size"]
            ),
            "dropout": parts.dropout(attention=config["attention_dropout"]),
        }
    )


def moves(config: Config) -> tuple[Move, ...]:
    """As in DeepSeek-V3, without the bias that balances."""
    return deepseek_v3.whole(config, deepseek_v3.mixture(config), bias=config["mlp_bias"])


def write(model: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a model section."""
    ffn = experts.filled(model["ffn"])
    grouped = ffn["num_groups"] > 1
    return {
        **latent.written(model),
        **deepseek_v3.their_experts(model),
        "topk_method": "group_limited_greedy" if grouped else "greedy",
        "n_group": ffn["num_groups"] if grouped else None,
        "topk_group": ffn["groups_per_token"] if grouped else None,
    }


def _groups(config: Config) -> Section:
    """Only some groups of experts are looked into, those with the best expert (section 2.2.2)."""
    method = config["topk_method"]
    if method == "greedy":
        return {}
    if method != "group_limited_greedy":
        raise Unspoken(("topk_method",), method, "it is `greedy` or `group_limited_greedy`")
    return {"num_groups": config["n_group"], "groups_per_token": config["topk_group"], "group_score": "max"}


_IGNORED = "`DeepseekV2ForCausalLM` ignores it and computes `{}`, which is not what it says"
DEEPSEEK_V2 = Family(
    "deepseek_v2",
    ("DeepseekV2ForCausalLM",),
    DEFAULTS,
    read,
    moves,
    write,
    rope=Rope(),
    only={
        "norm_topk_prob": Only((False, None), _IGNORED.format("false")),
        "mlp_bias": Only((False,), "plain feed-forwards and shared experts have no biases here"),
        "scoring_func": Only(("softmax",), _IGNORED.format("softmax")),
        "moe_layer_freq": Only((1,), _IGNORED.format("1")),
    },
    # What the forward pass returns, how the original program was cut and trained, and sizes that follow from others.
    neutral=frozenset(
        {
            "output_router_logits",
            "pretraining_tp",
            "ep_size",
            "aux_loss_alpha",
            "seq_aux",
            "qk_head_dim",
            "head_dim",
        }
    ),
    nullable=frozenset({"q_lora_rank", "norm_topk_prob"}),
    old_names={"num_experts": "n_routed_experts"},
    ignored=(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
)
