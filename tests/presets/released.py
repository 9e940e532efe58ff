"""Keys of the `config.json` of released checkpoints: those that say what the model is, as they lie on the hub.

Those of families whose names differ from Llama's are in `tests/huggingface/published_configs.py`.
"""

from __future__ import annotations

from typing import Any

from tests.huggingface.published_configs import PUBLISHED

_LLAMA3_ANGLES = {
    "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3",
}  # fmt: skip
_FURTHER: dict[str, dict[str, Any]] = {
    "meta-llama/Llama-2-7b-hf": {
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
        "max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "tie_word_embeddings": False, "vocab_size": 32000,
    },
    "meta-llama/Meta-Llama-3-8B": {
        "model_type": "llama", "attention_bias": False, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 8192, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 500000.0, "tie_word_embeddings": False, "vocab_size": 128256,
    },
    "meta-llama/Llama-3.1-8B": {
        "model_type": "llama", "attention_bias": False, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 8.0, **_LLAMA3_ANGLES}, "rope_theta": 500000.0, "tie_word_embeddings": False,
        "vocab_size": 128256,
    },
    "meta-llama/Llama-3.2-1B": {
        "model_type": "llama", "attention_bias": False, "head_dim": 64, "hidden_act": "silu", "hidden_size": 2048,
        "intermediate_size": 8192, "max_position_embeddings": 131072, "mlp_bias": False, "num_attention_heads": 32,
        "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
        "rope_scaling": {"factor": 32.0, **_LLAMA3_ANGLES}, "rope_theta": 500000.0, "tie_word_embeddings": True,
        "vocab_size": 128256,
    },
    "mistralai/Mistral-7B-v0.1": {
        "model_type": "mistral", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
        "max_position_embeddings": 32768, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
        "tie_word_embeddings": False, "vocab_size": 32000,
    },
    "Qwen/Qwen2-7B": {
        "model_type": "qwen2", "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 3584,
        "intermediate_size": 18944, "max_position_embeddings": 131072, "max_window_layers": 28,
        "num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 131072, "tie_word_embeddings": False,
        "use_sliding_window": False, "vocab_size": 152064,
    },
    "Qwen/Qwen2.5-0.5B": {
        "model_type": "qwen2", "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 896,
        "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 24,
        "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True, "use_mrope": False,
        "use_sliding_window": False, "vocab_size": 151936,
    },
    "Qwen/Qwen3-8B": {
        "model_type": "qwen3", "attention_bias": False, "attention_dropout": 0.0, "head_dim": 128,
        "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 12288, "max_position_embeddings": 40960,
        "max_window_layers": 36, "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
        "tie_word_embeddings": False, "use_sliding_window": False, "vocab_size": 151936,
    },
    "google/gemma-2b": {
        "model_type": "gemma", "attention_bias": False, "attention_dropout": 0.0, "head_dim": 256,
        "hidden_act": "gelu", "hidden_size": 2048, "intermediate_size": 16384, "max_position_embeddings": 8192,
        "num_attention_heads": 8, "num_hidden_layers": 18, "num_key_value_heads": 1, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 10000.0, "vocab_size": 256000,
    },
    "google/gemma-7b": {
        "model_type": "gemma", "attention_bias": False, "attention_dropout": 0.0, "head_dim": 256,
        "hidden_act": "gelu", "hidden_size": 3072, "intermediate_size": 24576, "max_position_embeddings": 8192,
        "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 16, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 10000.0, "vocab_size": 256000,
    },
    "google/gemma-2-2b": {
        "model_type": "gemma2", "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 2304, "intermediate_size": 9216,
        "max_position_embeddings": 8192, "num_attention_heads": 8, "num_hidden_layers": 26,
        "num_key_value_heads": 4, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "sliding_window": 4096, "vocab_size": 256000,
    },
    "google/gemma-2-27b": {
        "model_type": "gemma2", "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": 50.0,
        "cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "head_dim": 128,
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 4608, "intermediate_size": 36864,
        "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 46,
        "num_key_value_heads": 16, "query_pre_attn_scalar": 144, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "sliding_window": 4096, "vocab_size": 256000,
    },
    "google/gemma-3-1b-pt": {
        "model_type": "gemma3_text", "attention_bias": False, "attention_dropout": 0.0,
        "attn_logit_softcapping": None, "cache_implementation": "hybrid", "final_logit_softcapping": None,
        "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 1152, "intermediate_size": 6912,
        "max_position_embeddings": 32768, "num_attention_heads": 4, "num_hidden_layers": 26,
        "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512,
        "sliding_window_pattern": 6, "vocab_size": 262144,
    },
    "microsoft/phi-1_5": {
        "model_type": "phi", "attention_dropout": 0.0, "embd_pdrop": 0.0, "hidden_act": "gelu_new",
        "hidden_size": 2048, "intermediate_size": 8192, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
        "num_attention_heads": 32, "num_hidden_layers": 24, "num_key_value_heads": None,
        "partial_rotary_factor": 0.5, "qk_layernorm": False, "resid_pdrop": 0.0, "rope_scaling": None,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 51200,
    },
    "microsoft/phi-2": {
        "model_type": "phi", "attention_dropout": 0.0, "embd_pdrop": 0.0, "hidden_act": "gelu_new",
        "hidden_size": 2560, "intermediate_size": 10240, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "partial_rotary_factor": 0.4, "qk_layernorm": False, "resid_pdrop": 0.1, "rope_scaling": None,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 51200,
    },
    "microsoft/Phi-3-mini-4k-instruct": {
        "model_type": "phi3", "attention_dropout": 0.0, "embd_pdrop": 0.0, "hidden_act": "silu",
        "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 4096,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
        "original_max_position_embeddings": 4096, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05, "rope_scaling": None,
        "rope_theta": 10000.0, "sliding_window": 2047, "tie_word_embeddings": False, "vocab_size": 32064,
    },
    "openai-community/gpt2-xl": {
        "model_type": "gpt2", "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1,
        "layer_norm_epsilon": 1e-05, "n_ctx": 1024, "n_embd": 1600, "n_head": 25, "n_layer": 48,
        "n_positions": 1024, "resid_pdrop": 0.1, "vocab_size": 50257,
    },
    "EleutherAI/pythia-160m": {
        "model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 768, "intermediate_size": 3072,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 2048, "num_attention_heads": 12,
        "num_hidden_layers": 12, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": False,
        "use_parallel_residual": True, "vocab_size": 50304,
    },
    "tiiuae/falcon-40b": {
        "model_type": "falcon", "alibi": False, "attention_dropout": 0.0, "bias": False, "hidden_dropout": 0.0,
        "hidden_size": 8192, "layer_norm_epsilon": 1e-05, "new_decoder_architecture": True,
        "num_attention_heads": 128, "num_hidden_layers": 60, "num_kv_heads": 8, "parallel_attn": True,
        "vocab_size": 65024,
    },
    "facebook/opt-125m": {
        "model_type": "opt", "_remove_final_layer_norm": False, "activation_function": "relu",
        "attention_dropout": 0.0, "do_layer_norm_before": True, "dropout": 0.1, "ffn_dim": 3072,
        "hidden_size": 768, "layerdrop": 0.0, "max_position_embeddings": 2048, "num_attention_heads": 12,
        "num_hidden_layers": 12, "vocab_size": 50272, "word_embed_proj_dim": 768,
    },
    "facebook/opt-6.7b": {
        "model_type": "opt", "_remove_final_layer_norm": False, "activation_function": "relu",
        "attention_dropout": 0.0, "do_layer_norm_before": True, "dropout": 0.1, "ffn_dim": 16384,
        "hidden_size": 4096, "layerdrop": 0.0, "max_position_embeddings": 2048, "num_attention_heads": 32,
        "num_hidden_layers": 32, "vocab_size": 50272, "word_embed_proj_dim": 4096,
    },
    "allenai/OLMo-2-1124-7B": {
        "model_type": "olmo2", "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 4096,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 500000, "tie_word_embeddings": False, "vocab_size": 100352,
    },
    "bigcode/starcoder2-3b": {
        "model_type": "starcoder2", "attention_dropout": 0.1, "embedding_dropout": 0.1,
        "hidden_act": "gelu_pytorch_tanh", "hidden_size": 3072, "intermediate_size": 12288,
        "max_position_embeddings": 16384, "norm_epsilon": 1e-05, "norm_type": "layer_norm",
        "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2, "residual_dropout": 0.1,
        "rope_theta": 999999.4420358813, "sliding_window": 4096, "use_bias": True, "vocab_size": 49152,
    },
    "CohereForAI/c4ai-command-r-v01": {
        "model_type": "cohere", "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "hidden_size": 8192, "intermediate_size": 22528, "layer_norm_eps": 1e-05, "logit_scale": 0.0625,
        "max_position_embeddings": 8192, "num_attention_heads": 64, "num_hidden_layers": 40,
        "num_key_value_heads": 64, "rope_theta": 8000000.0, "vocab_size": 256000,
    },
    "CohereForAI/c4ai-command-r-plus": {
        "model_type": "cohere", "attention_bias": False, "attention_dropout": 0.0, "hidden_act": "silu",
        "hidden_size": 12288, "intermediate_size": 33792, "layer_norm_eps": 1e-05,
        "logit_scale": 0.8333333333333334, "max_position_embeddings": 8192, "num_attention_heads": 96,
        "num_hidden_layers": 64, "num_key_value_heads": 8, "rope_theta": 75000000.0, "use_qk_norm": True,
        "vocab_size": 256000,
    },
    "ibm-granite/granite-3.0-8b-base": {
        "model_type": "granite", "attention_bias": False, "attention_dropout": 0.1,
        "attention_multiplier": 0.0078125, "embedding_multiplier": 12.0, "hidden_act": "silu", "hidden_size": 4096,
        "intermediate_size": 12800, "logits_scaling": 16.0, "max_position_embeddings": 4096, "mlp_bias": False,
        "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8,
        "residual_multiplier": 0.22, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 10000,
        "tie_word_embeddings": True, "vocab_size": 49155,
    },
    "google-t5/t5-base": {**PUBLISHED["t5-small"], "d_ff": 3072, "d_model": 768, "num_decoder_layers": 12,
        "num_heads": 12, "num_layers": 12,
    },
    "google/t5-v1_1-base": {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "d_ff": 2048, "d_kv": 64, "d_model": 768,
        "dropout_rate": 0.1, "feed_forward_proj": "gated-gelu", "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06, "num_decoder_layers": 12, "num_heads": 12, "num_layers": 12,
        "relative_attention_num_buckets": 32, "tie_word_embeddings": False, "vocab_size": 32128,
    },
    "openai/gpt-oss-120b": {**PUBLISHED["gpt-oss-20b"], "num_hidden_layers": 36, "num_local_experts": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
    },
}  # fmt: skip
_HUB = {
    "gpt2": "openai-community/gpt2", "pythia-1.4b": "EleutherAI/pythia-1.4b", "falcon-7b": "tiiuae/falcon-7b",
    "falcon-rw-1b": "tiiuae/falcon-rw-1b", "mpt-7b": "mosaicml/mpt-7b", "bloom-560m": "bigscience/bloom-560m",
    "Mixtral-8x7B-v0.1": "mistralai/Mixtral-8x7B-v0.1", "Qwen1.5-MoE-A2.7B": "Qwen/Qwen1.5-MoE-A2.7B",
    "Qwen3-30B-A3B": "Qwen/Qwen3-30B-A3B", "DeepSeek-V2-Lite": "deepseek-ai/DeepSeek-V2-Lite",
    "DeepSeek-V3": "deepseek-ai/DeepSeek-V3", "gpt-oss-20b": "openai/gpt-oss-20b", "t5-small": "google-t5/t5-small",
    "bert-base-uncased": "google-bert/bert-base-uncased", "roberta-base": "FacebookAI/roberta-base",
    "ModernBERT-base": "answerdotai/ModernBERT-base",
}  # fmt: skip
RELEASED = {**{hub: PUBLISHED[name] for name, hub in _HUB.items()}, **_FURTHER}
"""By name on the hub."""
