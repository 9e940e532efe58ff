"""From a config to the `model:` section: every key is used, or known to change nothing, or an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specc.diagnostics.near import nearest
from specc.huggingface.family import Family, Section
from specc.huggingface.rope import GLOBAL, completed
from specc.huggingface.tensors import Move
from specc.huggingface.unspoken import Unspoken

NEUTRAL = frozenset({
    "architectures", "model_type", "transformers_version", "_name_or_path", "name_or_path", "auto_map",
    "torch_dtype", "dtype", "use_cache", "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id",
    "sep_token_id", "unk_token_id", "mask_token_id", "cls_token_id", "decoder_start_token_id", "output_attentions",
    "output_hidden_states", "return_dict", "return_dict_in_generate", "output_scores", "id2label", "label2id",
    "num_labels", "problem_type", "task_specific_params", "tokenizer_class", "prefix", "finetuning_task",
    "gradient_checkpointing", "chunk_size_feed_forward", "is_encoder_decoder", "_attn_implementation",
    "_attn_implementation_autoset", "attn_implementation",
    # Keys of generation, which older configs held.
    "max_length", "min_length", "do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams",
    "num_beam_groups", "diversity_penalty", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "early_stopping", "forced_bos_token_id",
    "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
    "begin_suppress_tokens",
})  # fmt: skip
"""Keys that change no computation of the forward pass. They are kept, so that an exported config has them."""
ONLY_ELSEWHERE: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "is_decoder": ((False, True), ""),
    "add_cross_attention": ((False, None), "a decoder that reads an encoder is `kind: encoder_decoder`"),
    "cross_attention_hidden_size": ((None,), "a decoder that reads an encoder is `kind: encoder_decoder`"),
    "tie_encoder_decoder": ((False, None), "encoder and decoder have weights of their own"),
    "tie_last_hidden_states": ((None, False, True), ""),
    "pruned_heads": (({}, None), "every layer has all its heads"),
    "torchscript": ((False, None), ""),
    "use_bfloat16": ((False, None), ""),
    "tf_legacy_loss": ((False, None), ""),
    "quantization_config": (
        (None, {}),
        "its weights are stored in another form; give one with weights in a float type",
    ),
    "per_layer_config": ((None, {}), "layers differ by their window and their experts only"),
}
"""Keys that any config may have, each with the values that change nothing here."""
_TYPES: Mapping[str, type] = {
    "head_dim": int,
    "num_key_value_heads": int,
    "sliding_window": int,
    "intermediate_size": int,
    "n_inner": int,
    "layer_types": list,
    "rope_parameters": dict,
    "q_lora_rank": int,
    "query_pre_attn_scalar": int,
    "num_decoder_layers": int,
    "classifier_dropout": float,
    "mlp_only_layers": list,
    "attn_config": dict,
}
"""Types of keys whose default is null."""
_COUNTS = frozenset({
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size",
    "max_position_embeddings", "n_embd", "n_head", "n_layer", "d_model", "n_heads", "n_layers", "num_heads",
    "num_layers", "query_pre_attn_scalar", "intermediate_size", "decoder_sparse_step",
})  # fmt: skip
_WORDS = {bool: "`true` or `false`", int: "a whole number", float: "a number", str: "text", list: "a list",
          dict: "a mapping"}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a config says: a section of a spec, where each weight lies, and what was kept for an export."""

    family: str
    """Its `model_type`."""
    architecture: str
    """The class of transformers that its checkpoint is of."""
    model: Section
    """The `model:` section in plain values, with the keys that are required or differ from their default."""
    moves: tuple[Move, ...]
    """Each tensor of the checkpoint."""
    kept: Mapping[str, Any]
    """Keys that change no computation, with their values."""
    ignored: tuple[str, ...]
    """Tensors that may be in the checkpoint and are left aside: regular expressions over whole names."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """Those of `ignored` that are weights all the same, each with what a user is told where the checkpoint has them."""


def read_with(family: Family, config: Mapping[str, Any]) -> Reading:
    """Read a config as one of this family; Unspoken for the first key that cannot be said."""
    whole = complete(family, config)
    architecture = whole["architectures"][0]
    kept = {key: value for key, value in config.items() if key in NEUTRAL | family.neutral}
    try:
        model = family.read(whole)
    except Unspoken as unspoken:
        raise _where_written(unspoken, config) from None
    unread = {} if family.unread is None else family.unread(whole)
    ignored = (*family.ignored, *unread)
    return Reading(family.model_type, architecture, model, family.moves(whole), kept, ignored, unread)


def complete(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every key of its class: older spellings renamed, defaults filled in, angles in one form."""
    renamed = _renamed(family, config)
    _check_keys(family, renamed)
    values = {**family.defaults, **dict.fromkeys(family.old_keys), **renamed}
    _check_types(family, values, renamed)
    _check_only(family, values)
    _check_layers(values)
    values["architectures"] = [_architecture(family, config)]
    if family.rope is not None:
        values["rope_parameters"] = completed(renamed, family.rope)
    return values


def _where_written(unspoken: Unspoken, config: Mapping[str, Any]) -> Unspoken:
    """The same at the key that the config has: angles may stand under the name that transformers 4 gave them."""
    first, *rest = unspoken.path
    if first != "rope_parameters" or not config.get("rope_scaling"):
        return unspoken
    path = ("rope_scaling", *(part for part in rest if part != GLOBAL))
    return Unspoken(path, unspoken.value, unspoken.reason, unspoken.near)


def _renamed(family: Family, config: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in config.items():
        name = family.old_names.get(key, key)
        if renamed.setdefault(name, value) != value:
            raise Unspoken((key,), value, f"the same config says `{name}` with another value")
    return renamed


def _check_keys(family: Family, config: Mapping[str, Any]) -> None:
    rope = frozenset() if family.rope is None else family.rope.old_keys | {"rope_parameters"}
    known = {*family.defaults, *family.old_keys, *family.only, *family.neutral, *NEUTRAL, *ONLY_ELSEWHERE, *rope}
    for key in config:
        if key not in known:
            reason = f"`{family.model_type}` configs have no such key"
            raise Unspoken((key,), config[key], reason, nearest(key, known))


def _check_types(family: Family, values: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    for key in config:
        default = family.defaults.get(key)
        wanted = family.old_keys.get(key) or (_TYPES.get(key) if default is None else type(default))
        if wanted is None or (values[key] is None and (default is None or key in family.nullable)):
            continue
        if key in NEUTRAL | family.neutral:
            continue
        if not _is(values[key], wanted):
            raise Unspoken((key,), values[key], f"it is {_WORDS.get(wanted, wanted.__name__)}")
        if key in _COUNTS and values[key] < 1:
            raise Unspoken((key,), values[key], "it is 1 or more")


def _is(value: Any, wanted: type) -> bool:
    if isinstance(value, bool) or wanted is bool:
        return isinstance(value, bool) and wanted is bool
    if wanted is list:
        return isinstance(value, list | tuple)
    # JSON does not tell 1 from 1.0: sizes are whole, and any number may be written as a whole one.
    return isinstance(value, int | float if wanted is float else wanted)


def _check_only(family: Family, values: Mapping[str, Any]) -> None:
    for key, only in family.only.items():
        if key in values and values[key] not in only.values:
            raise Unspoken((key,), values[key], only.reason)
    for key, (allowed, reason) in ONLY_ELSEWHERE.items():
        if key in values and key not in family.defaults and values[key] not in allowed:
            raise Unspoken((key,), values[key], reason)


def _check_layers(values: Mapping[str, Any]) -> None:
    kinds, count = values.get("layer_types"), values.get("num_hidden_layers")
    if kinds is not None and count is not None and len(kinds) != count:
        raise Unspoken(("layer_types",), kinds, f"it names {len(kinds):,} layers, and the config has {count:,}")


def _architecture(family: Family, config: Mapping[str, Any]) -> str:
    named = config.get("architectures") or [family.architectures[0]]
    if not isinstance(named, list | tuple) or named[0] not in family.architectures:
        known = ", ".join(f"`{name}`" for name in family.architectures)
        raise Unspoken(("architectures",), named, f"checkpoints of `{family.model_type}` are read as {known}")
    return str(named[0])
