"""Small configs of the families whose names differ from Llama's: GPT-2's kin, experts, encoders, T5."""

from __future__ import annotations

from typing import Any

from tests.huggingface.case import Case

_NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
GPT2 = {"vocab_size": 257, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, **_NO_IDS}
WIDTHS = {"vocab_size": 257, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, **_NO_IDS}
NEOX = {**WIDTHS, "intermediate_size": 48, "max_position_embeddings": 64}
FALCON = {**WIDTHS, "max_position_embeddings": 64}
MPT = {"vocab_size": 257, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}
BLOOM = {"vocab_size": 257, "hidden_size": 32, "n_head": 4, "n_layer": 2, **_NO_IDS}
MIXED = {**NEOX, "num_key_value_heads": 2, "num_experts_per_tok": 2}
# Without plain layers nothing says how wide they would be, and the width of an expert is written.
QWEN = {**MIXED, "intermediate_size": 24, "moe_intermediate_size": 24, "num_experts": 4}
LATENT = {
    **NEOX,
    "num_key_value_heads": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_routed_experts": 8,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 12,
    "q_lora_rank": 20,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 16,
}
OSS = {**MIXED, "head_dim": 8, "num_local_experts": 4, "sliding_window": 8}
OSS_YARN = {**YARN, "rope_theta": 150000.0, "truncate": False}
T5 = {"vocab_size": 300, "d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_heads": 4}
BERT = {**NEOX, "vocab_size": 300, "pad_token_id": 0}
ROBERTA = {**BERT, "pad_token_id": 1, "max_position_embeddings": 66, "type_vocab_size": 1}
MODERN = {**BERT, "num_hidden_layers": 4, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8}


def _case(model_type: str, shows: str, keywords: dict[str, Any], architecture: str | None = None, **more: Any) -> Case:
    return Case(model_type, shows, {**keywords, **more}, architecture)


FURTHER: tuple[Case, ...] = (
    _case("gpt2", "usual", GPT2),
    _case("gpt2", "untied", GPT2, n_inner=48, activation_function="relu", tie_word_embeddings=False,
          scale_attn_weights=False, resid_pdrop=0.0),
    _case("gpt_neox", "parallel", NEOX),
    _case("gpt_neox", "sequential", NEOX, use_parallel_residual=False, attention_bias=False, hidden_dropout=0.1,
          rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}),
    _case("gpt_neox", "tied", NEOX, tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh", attention_dropout=0.1),
    _case("falcon", "7b", FALCON),
    _case("falcon", "40b", FALCON, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=2),
    _case("falcon", "11b", FALCON, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1,
          ffn_hidden_size=48),
    _case("falcon", "rw", FALCON, alibi=True, bias=True, parallel_attn=False, multi_query=False,
          attention_dropout=0.1, hidden_dropout=0.1),
    _case("mpt", "usual", MPT),
    _case("mpt", "clipped", MPT, attn_config={"clip_qkv": 6.0, "softmax_scale": 0.5}),
    _case("bloom", "usual", BLOOM),
    _case("bloom", "dropped", BLOOM, hidden_dropout=0.1, attention_dropout=0.2, tie_word_embeddings=False),
    _case("mixtral", "usual", MIXED, num_local_experts=4),
    _case("mixtral", "window", MIXED, num_local_experts=4, sliding_window=8, head_dim=16, router_aux_loss_coef=0.02,
          output_router_logits=True),
    _case("qwen2_moe", "usual", QWEN, shared_expert_intermediate_size=40, norm_topk_prob=True),
    _case("qwen2_moe", "dense", QWEN, shared_expert_intermediate_size=40, mlp_only_layers=[1], intermediate_size=48,
          qkv_bias=False, use_sliding_window=True, sliding_window=8),
    _case("qwen3_moe", "usual", QWEN, norm_topk_prob=True),
    _case("qwen3_moe", "dense", QWEN, mlp_only_layers=[0, 1], intermediate_size=48, head_dim=16, attention_bias=True,
          use_sliding_window=True, sliding_window=8),
    _case("deepseek_v2", "greedy", LATENT, n_shared_experts=2),
    _case("deepseek_v2", "groups", LATENT, topk_method="group_limited_greedy", n_group=4, topk_group=2,
          routed_scaling_factor=16.0, attention_bias=True, rope_parameters={**YARN, "mscale": 0.707,
                                                                            "mscale_all_dim": 0.707}),
    _case("deepseek_v2", "lite", {**LATENT, "q_lora_rank": None, "intermediate_size": 24}, first_k_dense_replace=0),
    _case("deepseek_v3", "usual", LATENT, num_mtp_layers=0, n_group=2, topk_group=1),
    _case("deepseek_v3", "yarn", LATENT, num_mtp_layers=0, n_group=2, topk_group=1, attention_bias=True,
          rope_parameters={**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}),
    _case("deepseek_v3", "halves", {**LATENT, "q_lora_rank": None, "intermediate_size": 24}, num_mtp_layers=0,
          n_group=2, topk_group=1, rope_interleave=False,
          norm_topk_prob=False, first_k_dense_replace=0),
    _case("gpt_oss", "usual", OSS, rope_parameters=OSS_YARN),
    _case("gpt_oss", "even", OSS, num_hidden_layers=4, attention_bias=False,
          rope_parameters={"rope_type": "default", "rope_theta": 150000.0}),
    _case("t5", "usual", T5),
    _case("t5", "v1_1", T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_decoder_layers=1,
          dropout_rate=0.0, relative_attention_num_buckets=8, relative_attention_max_distance=32),
    _case("bert", "masked", BERT),
    _case("bert", "pooled", BERT, "BertModel", hidden_act="gelu_new"),
    _case("bert", "classes", BERT, "BertForSequenceClassification", num_labels=3, classifier_dropout=0.3),
    _case("bert", "tokens", BERT, "BertForTokenClassification", num_labels=5, type_vocab_size=1),
    _case("roberta", "masked", ROBERTA),
    _case("roberta", "pooled", ROBERTA, "RobertaModel"),
    _case("roberta", "classes", ROBERTA, "RobertaForSequenceClassification", num_labels=3),
    _case("roberta", "tokens", ROBERTA, "RobertaForTokenClassification", hidden_dropout_prob=0.0),
    _case("modernbert", "masked", MODERN),
    _case("modernbert", "biases", MODERN, norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True,
          decoder_bias=False, mlp_dropout=0.1, embedding_dropout=0.1),
    _case("modernbert", "hidden", MODERN, "ModernBertModel", num_hidden_layers=6),
    _case("modernbert", "classes", MODERN, "ModernBertForSequenceClassification", num_labels=3,
          classifier_pooling="mean", classifier_dropout=0.1),
    _case("modernbert", "tokens", MODERN, "ModernBertForTokenClassification", classifier_activation="relu"),
)  # fmt: skip
