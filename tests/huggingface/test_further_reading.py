"""Published configs of families whose names are their own, and what of them cannot be said."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from specc import huggingface
from specc.huggingface import FAMILIES, Family, Unspoken, Unwritable
from tests.huggingface.published_configs import PUBLISHED

DEEPSEEK_V2 = {"num_experts_per_tok": 6}


def section(name: str) -> dict[str, Any]:
    return huggingface.read(PUBLISHED[name]).model


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "flan-t5-base"])
def test_a_published_config_reads_as_transformers_takes_it(name: str) -> None:
    config = PUBLISHED[name]
    taken = CONFIG_MAPPING[config["model_type"]](**config).to_dict()
    assert section(name) == huggingface.read(taken).model


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_was_read_of_a_published_config_is_written_again(name: str) -> None:
    model_type = PUBLISHED[name]["model_type"]
    written = huggingface.write(section(name), model_type)
    assert huggingface.read(written).model == section(name)


def test_a_t5_with_a_head_of_its_own_is_read_as_published_and_as_transformers_saves_it() -> None:
    """transformers 5.23 remembers the missing scale, and forgets the head: the checkpoint it saves has none."""
    published = section("flan-t5-base")
    saved = huggingface.read(CONFIG_MAPPING["t5"](**PUBLISHED["flan-t5-base"]).to_dict()).model
    assert (published["tie_embeddings"], saved["tie_embeddings"]) == (False, True)
    assert "head" not in published and "head" not in saved
    assert section("t5-small")["head"] == {"kind": "lm", "multiplier": 512**-0.5}


def test_deepseek_v3_is_what_its_report_says() -> None:
    """DeepSeek-AI 2024, arXiv:2412.19437, section 4.2; YaRN's growth of the scores is that of the released code."""
    model = section("DeepSeek-V3")
    assert model["attention"] == {
        "kind": "mla",
        "num_heads": 128,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "scale": pytest.approx((0.1 * math.log(40) + 1) ** 2 / math.sqrt(128 + 64)),
    }
    assert model["position"]["scaling"]["attention_factor"] == 1.0
    assert model["position"]["layout"] == "interleaved"
    assert model["ffn"]["dense"] == {"layers": [0, 1, 2], "intermediate_size": 18432}
    assert model["ffn"]["balancing"] == {"kind": "bias", "update_rate": 0.001}


def test_the_layer_for_a_further_token_is_left_aside_by_name() -> None:
    reading = huggingface.read(PUBLISHED["DeepSeek-V3"])
    extra = "model.layers.61.mlp.experts.0.up_proj.weight"
    assert [why for rule, why in reading.unread.items() if re.fullmatch(rule, extra)] == [
        "layers that predict one token further are not read, and `DeepseekV3ForCausalLM` does not read them either"
    ]
    assert set(reading.unread) <= set(reading.ignored)
    assert not any(re.fullmatch(rule, extra.replace("61", "60")) for rule in reading.ignored)


def test_the_coefficient_of_a_loss_that_is_not_computed_is_not_a_loss() -> None:
    config = PUBLISHED["Mixtral-8x7B-v0.1"]
    asked = {**config, "output_router_logits": True}
    assert huggingface.read(config).model["ffn"]["balancing"] == {"kind": "none"}
    assert huggingface.read(config).kept["router_aux_loss_coef"] == 0.02
    assert huggingface.read(asked).model["ffn"]["balancing"] == {"kind": "loss", "coefficient": 0.02}


def test_windows_of_modernbert_reach_half_of_local_attention_to_either_side() -> None:
    attention = section("ModernBERT-base")["attention"]
    assert (attention["window"], attention["pattern"]) == (65, ("GLL" * 8)[:22])


def test_roberta_has_512_positions_in_a_table_of_514() -> None:
    model = section("roberta-base")
    assert (model["context_length"], model["position"]) == (512, {"kind": "learned", "offset": 2})


@pytest.mark.parametrize(
    ("model_type", "changes", "key"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
        ("gpt2", {"activation_function": "silu"}, "activation_function"),
        ("falcon", {"new_decoder_architecture": True, "parallel_attn": False}, "parallel_attn"),
        ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn"),
        ("falcon", {"multi_query": False, "num_kv_heads": 1}, "num_kv_heads"),
        ("falcon", {"hidden_dropout": 0.1}, "hidden_dropout"),
        ("falcon", {"hidden_dropout": 0.1, "parallel_attn": False}, "hidden_dropout"),
        ("mpt", {"no_bias": False}, "no_bias"),
        ("mpt", {"expansion_ratio": 8}, "expansion_ratio"),
        ("mpt", {"emb_pdrop": 0.1}, "emb_pdrop"),
        ("mpt", {"logit_scale": "inv_sqrt_d_model"}, "logit_scale"),
        ("mpt", {"attn_config": {"alibi": False}}, "attn_config.alibi"),
        ("mpt", {"attn_config": {"alibi_bias_max": 16}}, "attn_config.alibi_bias_max"),
        ("mpt", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_config.attn_type"),
        ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln"),
        ("mpt", {"attn_config": {"rope": True}}, "attn_config.rope"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post_layernorm"),
        ("mixtral", {"router_jitter_noise": 0.1}, "router_jitter_noise"),
        ("mixtral", {"hidden_act": "gelu"}, "hidden_act"),
        ("deepseek_v2", {}, "num_experts_per_tok"),
        ("deepseek_v2", {**DEEPSEEK_V2, "norm_topk_prob": True}, "norm_topk_prob"),
        ("deepseek_v2", {**DEEPSEEK_V2, "topk_method": "noaux_tc"}, "topk_method"),
        ("deepseek_v2", {**DEEPSEEK_V2, "mlp_bias": True}, "mlp_bias"),
        ("deepseek_v2", {**DEEPSEEK_V2, "num_key_value_heads": 4}, "num_key_value_heads"),
        ("deepseek_v3", {"scoring_func": "softmax"}, "scoring_func"),
        ("deepseek_v3", {"moe_layer_freq": 2}, "moe_layer_freq"),
        ("gpt_oss", {"swiglu_limit": 10.0}, "swiglu_limit"),
        ("t5", {"is_decoder": True}, "is_decoder"),
        ("t5", {"feed_forward_proj": "gated-mish"}, "feed_forward_proj"),
        ("bert", {"is_decoder": True}, "is_decoder"),
        ("bert", {"architectures": ["BertForQuestionAnswering"]}, "architectures"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("bert", {"architectures": ["BertForSequenceClassification"], "num_labels": 0}, "num_labels"),
        ("bert", {"architectures": ["BertForSequenceClassification"], "id2label": 3}, "id2label"),
        ("roberta", {"pad_token_id": None}, "pad_token_id"),
        ("qwen3_moe", {"decoder_sparse_step": 0}, "decoder_sparse_step"),
        ("qwen3_moe", {"mlp_only_layers": 1}, "mlp_only_layers"),
        ("mpt", {"attn_config": 1}, "attn_config"),
        ("deepseek_v3", {"num_nextn_predict_layers": "one"}, "num_nextn_predict_layers"),
        ("modernbert", {"attention_dropout": 0.1}, "attention_dropout"),
        ("modernbert", {"classifier_activation": "mish"}, "classifier_activation"),
    ],
)
def test_what_cannot_be_said_is_an_error_that_names_it(model_type: str, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(Unspoken) as caught:
        huggingface.read({"model_type": model_type, **changes})
    assert caught.value.key == key
    assert caught.value.reason


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_no_value_of_any_key_is_answered_by_a_traceback(family: Family) -> None:
    small = {"num_hidden_layers": 2, "num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8}
    kept = {key: value for key, value in {**small, **DEEPSEEK_V2}.items() if key in family.defaults}
    keys = (*family.defaults, *family.old_keys, *family.old_names, "rope_scaling", "id2label", "num_labels")
    for architecture in family.architectures:
        base = {"model_type": family.model_type, "architectures": [architecture], **kept}
        for key, value in itertools.product(keys, (0, -1, None, "x", [], ["x"], {}, {"a": 1}, 1.5, True)):
            with contextlib.suppress(Unspoken):
                huggingface.read({**base, key: value})


@pytest.mark.parametrize(
    ("model_type", "other"),
    [("mpt", "gpt2"), ("bert", "gpt2"), ("gpt2", "bloom-560m"), ("deepseek_v3", "Mixtral-8x7B-v0.1"),
     ("deepseek_v2", "DeepSeek-V3"), ("mixtral", "Qwen1.5-MoE-A2.7B"), ("gpt_oss", "Mixtral-8x7B-v0.1"),
     ("t5", "bert-base-uncased"), ("falcon", "pythia-1.4b")],
)  # fmt: skip
def test_a_family_that_cannot_say_a_model_refuses_it(model_type: str, other: str) -> None:
    with pytest.raises(Unwritable):
        huggingface.write(section(other), model_type)
