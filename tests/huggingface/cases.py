"""Small configs of every family, each with what it shows: the one table that all tests of this folder run over."""

from __future__ import annotations

from typing import Any

from tests.huggingface.case import Case
from tests.huggingface.further_cases import FURTHER

SMALL: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
OPT = {**{key: value for key, value in SMALL.items() if key != "intermediate_size"}, "ffn_dim": 48}
GROUPED = {**SMALL, "num_key_value_heads": 2}


def _case(model_type: str, shows: str, keywords: dict[str, Any], **changes: Any) -> Case:
    return Case(model_type, shows, {**keywords, **changes})


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 16.0,
    "original_max_position_embeddings": 16,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 1.0,
    "short_factor": [1.0, 1.1, 1.25, 1.5],
    "long_factor": [1.5, 2.0, 3.0, 4.0],
    "original_max_position_embeddings": 32,
}
GEMMA = {**GROUPED, "head_dim": 16}
CASES: tuple[Case, ...] = (
    _case("llama", "grouped", GROUPED),
    _case("llama", "biases", SMALL, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    _case("llama", "head_dim", GROUPED, head_dim=16, num_key_value_heads=1, attention_dropout=0.1),
    _case("llama", "llama3", GROUPED, rope_parameters=LLAMA3),
    _case("llama", "linear", GROUPED, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}),
    _case("llama", "dynamic", GROUPED, rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}),
    _case("llama", "yarn", GROUPED, rope_parameters={**YARN, "beta_slow": 1.0, "attention_factor": 1.25}),
    _case("mistral", "window", GROUPED, sliding_window=8),
    _case("mistral", "no_window", GROUPED, sliding_window=None, head_dim=16),
    _case("qwen2", "grouped", GROUPED),
    _case("qwen2", "window", {**SMALL, "num_key_value_heads": 4}, use_sliding_window=True, sliding_window=8,
          max_window_layers=1),
    _case("qwen3", "grouped", GROUPED, head_dim=16),
    _case("qwen3", "window", GROUPED, head_dim=8, use_sliding_window=True, sliding_window=8, max_window_layers=0,
          attention_bias=True),
    _case("phi3", "grouped", GROUPED),
    _case("phi3", "window", SMALL, sliding_window=8, resid_pdrop=0.1, num_key_value_heads=1),
    _case("phi3", "longrope", GROUPED, rope_parameters=LONG, original_max_position_embeddings=32),
    _case("phi3", "part", GROUPED, rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                                   "partial_rotary_factor": 0.5}),
    _case("gemma", "shared", GEMMA, num_key_value_heads=1),
    _case("gemma", "biases", SMALL, num_key_value_heads=4, head_dim=8, attention_bias=True, hidden_act="gelu_new"),
    _case("gemma2", "windows", GEMMA, num_hidden_layers=4, sliding_window=8, query_pre_attn_scalar=24),
    _case("gemma2", "unbounded", GEMMA, sliding_window=8, query_pre_attn_scalar=16, attn_logit_softcapping=None,
          final_logit_softcapping=None),
    _case("gemma3_text", "windows", GEMMA, num_hidden_layers=7, sliding_window=8, query_pre_attn_scalar=24),
    _case("gemma3_text", "scaled", GEMMA, num_hidden_layers=6, sliding_window=8, query_pre_attn_scalar=16,
          final_logit_softcapping=30.0, rope_parameters={
              "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
              "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
          }),
    _case("granite", "multiplied", GROUPED, embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=16.0,
          attention_multiplier=0.0078125),
    _case("granite", "biases", GROUPED, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    _case("cohere", "grouped", GROUPED),
    _case("cohere", "normed", GROUPED, use_qk_norm=True, attention_bias=True, logit_scale=0.25),
    _case("olmo2", "grouped", GROUPED),
    _case("olmo2", "biases", SMALL, attention_bias=True, tie_word_embeddings=True),
    _case("starcoder2", "grouped", GROUPED, residual_dropout=0.1, embedding_dropout=0.1),
    _case("starcoder2", "window", GROUPED, sliding_window=8, use_bias=False, tie_word_embeddings=False),
    _case("phi", "grouped", GROUPED),
    _case("phi", "normed", SMALL, qk_layernorm=True, resid_pdrop=0.1, embd_pdrop=0.1),
    _case("opt", "before", OPT),
    _case("opt", "after", OPT, do_layer_norm_before=False, enable_bias=False),
    _case("opt", "plain", OPT, layer_norm_elementwise_affine=False, tie_word_embeddings=False, dropout=0.0,
          activation_function="gelu"),
    *FURTHER,
)  # fmt: skip
