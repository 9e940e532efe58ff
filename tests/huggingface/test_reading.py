"""What a config says, in either form; and what cannot be said, by name."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from specc import huggingface
from specc.huggingface import FAMILIES, Family, UnknownFamily, Unspoken, Unwritable, parts, rope
from tests.huggingface.cases import GROUPED

# Keys without which the config class has no model that runs.
NEEDED: dict[str, dict[str, Any]] = {"deepseek_v2": {"num_experts_per_tok": 6}}
ROTARY = tuple(family for family in FAMILIES if family.rope is not None and family.rope.local_theta is None)


@pytest.mark.parametrize("family", ROTARY, ids=lambda family: family.model_type)
@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_both_forms_of_rotary_angles_read_the_same(family: Family, kind: str) -> None:
    lists = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 4096}
    angles: dict[str, Any] = {"factor": 2.0} if family.model_type != "phi3" else lists
    name = "linear" if family.model_type != "phi3" else "longrope"
    assert family.rope is not None
    shared = {"model_type": family.model_type, **NEEDED.get(family.model_type, {})}
    old = {**shared, family.rope.theta_key: 5e5, "rope_scaling": {kind: name, **angles}}
    new = {**shared, "rope_parameters": {"rope_type": name, "rope_theta": 5e5, **angles}}
    assert huggingface.read(old).model == huggingface.read(new).model


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.model_type)
def test_a_config_without_keys_is_the_default_model(family: Family) -> None:
    needed = NEEDED.get(family.model_type, {})
    bare = huggingface.read({"model_type": family.model_type, **needed})
    assert bare.model == huggingface.read(CONFIG_MAPPING[family.model_type](**needed).to_dict()).model
    assert bare.architecture == family.architectures[0]
    assert huggingface.read(needed, family.model_type).model == bare.model


HUB: dict[str, dict[str, Any]] = {
    "Llama-3.1-8B": {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": 128001, "hidden_act": "silu", "hidden_size": 4096,
        "initializer_range": 0.02, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": False,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "pretraining_tp": 1,
        "rms_norm_eps": 1e-05, "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192, "rope_type": "llama3"}, "rope_theta": 500000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.43.0.dev0",
        "use_cache": True, "vocab_size": 128256,
    },
    "phi-2": {
        "model_type": "phi", "architectures": ["PhiForCausalLM"], "attention_dropout": 0.0, "embd_pdrop": 0.0,
        "hidden_act": "gelu_new", "hidden_size": 2560, "intermediate_size": 10240, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 32, "partial_rotary_factor": 0.4, "qk_layernorm": False, "resid_pdrop": 0.1,
        "rope_scaling": None, "rope_theta": 10000.0, "tie_word_embeddings": False, "vocab_size": 51200,
    },
    "gemma-3-1b": {
        "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "attn_logit_softcapping": None,
        "cache_implementation": "hybrid", "final_logit_softcapping": None, "head_dim": 256, "hidden_size": 1152,
        "hidden_activation": "gelu_pytorch_tanh", "intermediate_size": 6912, "max_position_embeddings": 32768,
        "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1, "query_pre_attn_scalar": 256,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512,
        "sliding_window_pattern": 6, "vocab_size": 262144,
    },
}  # fmt: skip
"""Configs as transformers 4 wrote them."""


@pytest.mark.parametrize("name", HUB)
def test_a_config_of_transformers_4_reads_as_transformers_5_takes_it(name: str) -> None:
    config = HUB[name]
    taken = CONFIG_MAPPING[config["model_type"]](**config).to_dict()
    assert huggingface.read(config).model == huggingface.read(taken).model


def test_llama_3_1_is_what_its_paper_says() -> None:
    """Grattafiori et al. 2024, arXiv:2407.21783, table 3; the scaling is that of the published config."""
    assert huggingface.read(HUB["Llama-3.1-8B"]).model == {
        "kind": "decoder",
        "hidden_size": 4096,
        "num_layers": 32,
        "context_length": 131072,
        "vocab_size": 128256,
        "tie_embeddings": False,
        "attention": {"kind": "gqa", "num_heads": 32, "num_kv_heads": 8},
        "position": {
            "kind": "rope",
            "rope_theta": 500000.0,
            "original_context_length": 8192,
            "scaling": {"kind": "llama3", "factor": 8.0},
        },
        "norm": {"kind": "rmsnorm", "eps": 1e-5},
        "ffn": {"kind": "swiglu", "intermediate_size": 14336},
    }


def test_gemma_3_has_five_local_layers_for_each_global_one() -> None:
    """Gemma Team 2025, arXiv:2503.19786, section 2; 26 layers are no multiple of 6, so all letters are written."""
    model = huggingface.read(HUB["gemma-3-1b"]).model
    assert model["attention"]["pattern"] == ("LLLLLG" * 5)[:26]
    assert model["position"] == {"kind": "rope", "rope_theta": 1e6, "local_rope_theta": 1e4}


def test_a_pattern_is_as_short_as_tiles_the_layers() -> None:
    local, whole = rope.LOCAL, rope.GLOBAL
    assert parts.windows([local, whole] * 3, 8) == {"window": 8, "pattern": "LG"}
    assert parts.windows([local, whole, local], 8) == {"window": 8, "pattern": "LGL"}
    assert parts.windows([local] * 3, 8) == {"window": 8}
    assert parts.windows([whole] * 3, 8) == {}


@pytest.mark.parametrize(
    ("model_type", "changes", "key"),
    [
        ("llama", {"pretraining_tp": 2}, "pretraining_tp"),
        ("llama", {"hidden_act": "mish"}, "hidden_act"),
        ("llama", {"hidden_size": "wide"}, "hidden_size"),
        ("llama", {"num_attention_heads": 0}, "num_attention_heads"),
        ("llama", {"hidden_size": True}, "hidden_size"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "architectures"),
        ("llama", {"rope_scaling": {"type": "spiral"}}, "rope_scaling.rope_type"),
        ("llama", {"rope_scaling": {"type": "linear"}}, "rope_scaling.factor"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, "beta": 1}}, "rope_scaling.beta"),
        ("llama", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters.partial_rotary_factor"),
        ("llama", {"rope_theta": "large"}, "rope_theta"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 0}}, "rope_scaling.factor"),
        (
            "llama",
            {"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 1}},
            "rope_scaling.original_max_position_embeddings",
        ),
        ("llama", {"rope_parameters": [1]}, "rope_parameters"),
        ("llama", {"quantization_config": {"quant_method": "fp8"}}, "quantization_config"),
        ("qwen2", {"layer_types": ["full_attention"]}, "layer_types"),
        (
            "phi3",
            {"rope_scaling": {"type": "longrope", "short_factor": ["a"], "long_factor": [1.0]}},
            "rope_scaling.short_factor.0",
        ),
        ("llama", {"per_layer_config": {"0": {}}}, "per_layer_config"),
        ("llama", {"add_cross_attention": True}, "add_cross_attention"),
        ("qwen2", {"use_mrope": True}, "use_mrope"),
        ("qwen2", {"layer_types": ["chunked_attention"], "num_hidden_layers": 1}, "layer_types.0"),
        ("qwen2", {"layer_types": ["sliding_attention"], "num_hidden_layers": 1}, "sliding_window"),
        ("phi3", {"embd_pdrop": 0.1}, "embd_pdrop"),
        ("phi3", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_scaling.rope_type"),
        ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3_text", {"sliding_window_pattern": 0}, "sliding_window_pattern"),
        ("gemma3", {"text_config": {}, "vision_config": {}}, "model_type"),
        ("granite", {"logits_scaling": 0.0}, "logits_scaling"),
        ("starcoder2", {"norm_type": "rms_norm"}, "norm_type"),
        ("opt", {"word_embed_proj_dim": 512, "hidden_size": 1024}, "word_embed_proj_dim"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm"),
        ("opt", {"layerdrop": 0.1}, "layerdrop"),
        ("lama", {}, "model_type"),
    ],
)
def test_what_cannot_be_said_is_an_error_that_names_it(model_type: str, changes: dict[str, Any], key: str) -> None:
    with pytest.raises(Unspoken) as caught:
        huggingface.read({"model_type": model_type, **changes})
    assert caught.value.key == key
    assert caught.value.reason
    assert caught.value.finding().at[0].path == caught.value.path


def test_an_unknown_family_and_an_unknown_key_are_answered_by_the_nearest() -> None:
    with pytest.raises(UnknownFamily) as caught:
        huggingface.read({"model_type": "qwen_3"})
    finding = caught.value.finding()
    assert (finding.code, finding.headline, finding.help) == (
        "SPC903",
        "no family of models `qwen_3`",
        "did you mean `qwen3`?",
    )
    with pytest.raises(Unspoken) as unknown:
        huggingface.read({"model_type": "llama", "rms_norm_epsilon": 1e-5})
    assert unknown.value.finding().help == "did you mean `rms_norm_eps`?"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": {"kind": "mha", "num_heads": 4, "clip_qkv": 8.0}}, "model.attention.clip_qkv"),
        ({"norm_placement": "post"}, "model.norm_placement"),
        ({"norm": {"kind": "layernorm", "eps": 1e-5}}, "model.norm.kind"),
        ({"position": {"kind": "alibi"}}, "rope_theta"),
        ({"ffn": {"kind": "gelu", "intermediate_size": 48, "bias": False}}, "model.ffn.kind"),
        ({"head": {"kind": "lm", "softcap": 30.0}}, "model.head.softcap"),
    ],
)
def test_a_model_that_llama_cannot_say_is_refused_by_key(changes: dict[str, Any], message: str) -> None:
    model = huggingface.read(transformers.LlamaConfig(**GROUPED).to_dict()).model
    assert huggingface.write(model, "llama")["hidden_size"] == 32
    with pytest.raises(Unwritable, match=message):
        huggingface.write({**model, **changes}, "llama")


def test_defaults_written_out_change_nothing() -> None:
    model = huggingface.read(transformers.LlamaConfig(**GROUPED).to_dict()).model
    explicit = {
        **model,
        **parts.DEFAULTS,
        "attention": {**parts.ATTENTION, **model["attention"], "kernel": "sdpa"},
        "embedding": dict(parts.EMBEDDING),
        "head": {"kind": "lm", **parts.HEAD},
        "dropout": dict(parts.DROPOUT),
        "norm": {**model["norm"], "unit_offset": False},
        "ffn": {**model["ffn"], "bias": False},
        "position": {
            **model["position"],
            "partial_rotary_factor": 1.0,
            "layout": "half_split",
            "local_rope_theta": None,
            "original_context_length": "auto",
            "scaling": None,
        },
        "init": {"kind": "depth_scaled"},
    }
    assert huggingface.write(explicit, "llama") == huggingface.write(model, "llama")
