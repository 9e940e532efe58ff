"""Parts of a `model:` section that many families share, without the keys that say what is said anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specc.huggingface.family import Section
from specc.huggingface.rope import GLOBAL, LOCAL, SCALING
from specc.huggingface.unspoken import Unspoken

DEFAULTS: Mapping[str, Any] = {
    "norm_placement": "pre",
    "residual": "sequential",
    "residual_multiplier": 1.0,
    "pad_vocab_size_multiple": 1,
    "first_attention_norm": True,
    "prediction": None,
    "layer_sharing": None,
    "adapters": None,
}
"""Keys of `model:` itself with the value that they have when nobody writes them."""
ATTENTION: Mapping[str, Any] = {
    "head_dim": "auto",
    # Of multi-head latent attention, whose bias is true or false.
    "norm_eps": 1e-6,
    "q_lora_rank": None,
    "bias": "none",
    "qk_norm": None,
    "qk_norm_over": "head",
    "clip_qkv": None,
    "scale": "auto",
    "logit_softcap": None,
    "window": None,
    "pattern": None,
    "sinks": False,
}
NORM: Mapping[str, Any] = {"unit_offset": False, "bias": True, "weight": True}
POSITION: Mapping[str, Any] = {
    "partial_rotary_factor": 1.0,
    "layout": "half_split",
    "local_rope_theta": None,
    "original_context_length": "auto",
    "scaling": None,
    **SCALING,
    "max_bias": 8.0,
    "slope_precision": "fp32",
    "multiplier": 1.0,
    "num_positions": "auto",
    "offset": 0,
    "num_buckets": 32,
    "max_distance": 128,
}
"""Keys of every position scheme and of its scaling; no two share a name."""
EXPERTS: Mapping[str, Any] = {
    "num_shared_experts": 0,
    "shared_intermediate_size": "auto",
    "shared_gate": False,
    "activation": "swiglu",
    "bias": False,
    "router_bias": False,
    "scoring": "softmax",
    "normalize_weights": True,
    "routed_scaling_factor": 1.0,
    "num_groups": 1,
    "groups_per_token": None,
    "group_score": "max",
    "capacity_factor": None,
    "dense": None,
}
"""Keys of `ffn` of kind `moe` with the value that they have when nobody writes them."""
FFN: Mapping[str, Any] = {**EXPERTS, "approximate": "none"}
"""Keys of every feed-forward."""
EMBEDDING: Mapping[str, Any] = {"multiplier": 1.0, "norm": None, "token_types": 0}
HEAD: Mapping[str, Any] = {"bias": False, "multiplier": 1.0, "softcap": None}
READING_HEAD: Mapping[str, Any] = {
    "pooling": "first",
    "pooler": False,
    "pooler_dropout": 0.0,
    "normalize": False,
    "transform": None,
    "activation": "gelu",
    "norm": None,
    "weight": True,
    "dropout": 0.0,
    "bias": True,
}
"""Keys of every head of an encoder, and of its dense layer."""
DROPOUT: Mapping[str, Any] = {"embedding": 0.0, "attention": 0.0, "residual": 0.0, "ffn": 0.0, "output": 0.0}
_ACTIVATIONS = {
    "silu": ("swiglu", {}),
    "swish": ("swiglu", {}),
    "gelu": ("geglu", {"approximate": "none"}),
    "gelu_pytorch_tanh": ("geglu", {"approximate": "tanh"}),
    "gelu_new": ("geglu", {"approximate": "tanh"}),
    "gelu_fast": ("geglu", {"approximate": "tanh"}),
    "relu": ("reglu", {}),
}
_PLAIN = {
    "gelu": ("gelu", {"approximate": "none"}),
    "gelu_pytorch_tanh": ("gelu", {"approximate": "tanh"}),
    "gelu_new": ("gelu", {"approximate": "tanh"}),
    "gelu_fast": ("gelu", {"approximate": "tanh"}),
    "relu": ("relu", {}),
    "relu2": ("squared_relu", {}),
}


def differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Section:
    """The values that are not the default of their key."""
    return {key: value for key, value in values.items() if key not in defaults or value != defaults[key]}


def decoder(values: Mapping[str, Any]) -> Section:
    """A `model:` section: sections that are empty and keys that say their default are left out."""
    kept = {key: value for key, value in differing(values, DEFAULTS).items() if value != {}}
    return {"kind": "decoder", **kept}


def attention(hidden_size: int, num_heads: int, num_kv_heads: int, head_dim: int, **rest: Any) -> Section:
    """An `attention` section, its kind chosen by the number of key/value heads."""
    kind = "mha" if num_kv_heads == num_heads else "mqa" if num_kv_heads == 1 else "gqa"
    heads: Section = {"kind": kind, "num_heads": num_heads}
    if kind == "gqa":
        heads["num_kv_heads"] = num_kv_heads
    width = "auto" if head_dim * num_heads == hidden_size else head_dim
    return {**heads, **differing({"head_dim": width, **rest}, ATTENTION)}


def sizes(config: Mapping[str, Any]) -> Section:
    """The sizes of a model by the names that configs after Llama have for them."""
    return {
        "hidden_size": config["hidden_size"],
        "num_layers": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "vocab_size": config["vocab_size"],
        "tie_embeddings": config["tie_word_embeddings"],
    }


def their_sizes(model: Mapping[str, Any], *, knows_head_dim: bool = True) -> dict[str, Any]:
    """The inverse of `sizes`, with the sizes of heads and feed-forward.

    A class that does not know `head_dim` is told it where heads are wider or narrower than the model divided by them.
    """
    width = head_dim(model)
    told = knows_head_dim or width * model["attention"]["num_heads"] != model["hidden_size"]
    return {
        "hidden_size": model["hidden_size"],
        "num_hidden_layers": model["num_layers"],
        "max_position_embeddings": model["context_length"],
        "vocab_size": model["vocab_size"],
        "tie_word_embeddings": model["tie_embeddings"],
        "num_attention_heads": model["attention"]["num_heads"],
        "num_key_value_heads": kv_heads(model["attention"]),
        "intermediate_size": model["ffn"]["intermediate_size"],
        **({"head_dim": width} if told else {}),
    }


def dropout(**shares: float) -> Section:
    """A `dropout` section."""
    return differing(shares, DROPOUT)


def embedding(**values: Any) -> Section:
    """An `embedding` section."""
    return differing(values, EMBEDDING)


def head(**values: Any) -> Section:
    """A `head` section of a language model."""
    chosen = differing(values, HEAD)
    return {"kind": "lm", **chosen} if chosen else {}


def inverse(config: Mapping[str, Any], key: str) -> float:
    """What to multiply by where their class divides by a value."""
    if not config[key]:
        raise Unspoken((key,), config[key], "the class divides by it")
    return float(1 / config[key])


def inverted(multiplier: float) -> float:
    """The value of which `multiplier` is the inverse; the shorter of two that are equally near."""
    value = 1 / multiplier
    short = round(value, 12)
    return short if short and 1 / short == multiplier else value


def dropped(model: Mapping[str, Any], name: str) -> float:
    """The share that a model section drops there."""
    return float(model.get("dropout", {}).get(name, 0.0))


def llama_attention(config: Mapping[str, Any], **rest: Any) -> Section:
    """An `attention` section by the names that configs after Llama have: heads that are null are computed."""
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads") or heads
    width = config.get("head_dim") or config["hidden_size"] // heads
    return attention(config["hidden_size"], heads, kv, width, **rest)


def llama_ffn(config: Mapping[str, Any], *, key: str = "hidden_act", bias: bool = False) -> Section:
    """An `ffn` section with a gate by the names that configs after Llama have."""
    extra: Section = {"bias": True} if bias else {}
    return {**gated(config[key], key), "intermediate_size": config["intermediate_size"], **extra}


def kv_heads(attention: Mapping[str, Any]) -> int:
    """Key/value heads of an `attention` section, whichever its kind."""
    if attention["kind"] == "mqa":
        return 1
    return int(attention.get("num_kv_heads", attention["num_heads"]))


def head_dim(model: Mapping[str, Any]) -> int:
    """Values per head of a model section with its defaults explicit."""
    attention = model["attention"]
    written = attention.get("head_dim", "auto")
    return int(model["hidden_size"] // attention["num_heads"] if written == "auto" else written)


def windows(layer_types: Sequence[str], window: int | None) -> Section:
    """`window` and `pattern` of an attention for the `layer_types` of a config; nothing where no layer has a window.

    A pattern is as short as tiles the layers, and is written out for all of them where nothing shorter does.
    """
    for index, kind in enumerate(layer_types):
        if kind not in (LOCAL, GLOBAL):
            raise Unspoken(("layer_types", index), kind, f"layers are `{LOCAL}` or `{GLOBAL}`")
    if window is None and LOCAL in layer_types:
        raise Unspoken(("sliding_window",), None, f"the config has `{LOCAL}` layers, and gives them no size")
    letters = "".join("L" if kind == LOCAL else "G" for kind in layer_types)
    if window is None or "L" not in letters:
        return {}
    if "G" not in letters:
        return {"window": window}
    tiles = (n for n in range(1, len(letters) + 1) if len(letters) % n == 0)
    period = next(n for n in tiles if letters[:n] * (len(letters) // n) == letters)
    return {"window": window, "pattern": letters[:period]}


def layer_types(model: Mapping[str, Any]) -> list[str]:
    """The `layer_types` of a model section: the inverse of `windows`."""
    attention, count = model["attention"], model["num_layers"]
    pattern = attention.get("pattern") or ("L" if attention.get("window") else "G")
    return [LOCAL if pattern[index % len(pattern)] == "L" else GLOBAL for index in range(count)]


def gated(activation: str, key: str) -> Section:
    """Kind of a feed-forward with a gate, by the name of its activation; `key` is where the config has it."""
    return _activation(activation, key, _ACTIVATIONS)


def plain(activation: str, key: str) -> Section:
    """Kind of a feed-forward without a gate, by the name of its activation."""
    return _activation(activation, key, _PLAIN)


def two_matrices(activation: str, key: str, intermediate_size: int, *, bias: bool) -> Section:
    """An `ffn` section without a gate, every key of it written."""
    return {**plain(activation, key), "intermediate_size": intermediate_size, "bias": bias}


def activation(ffn: Mapping[str, Any], tanh: str = "gelu_pytorch_tanh") -> str | None:
    """The name of the activation of an `ffn` section; None for a kind that has none (experts).

    `tanh` is what the family calls the approximated GELU.
    """
    approximated = ffn.get("approximate", "none") == "tanh"
    names = {"swiglu": "silu", "reglu": "relu", "relu": "relu", "squared_relu": "relu2"}
    if ffn["kind"] in ("geglu", "gelu"):
        return tanh if approximated else "gelu"
    return names.get(ffn["kind"])


def _activation(name: str, key: str, table: Mapping[str, tuple[str, Section]]) -> Section:
    if name not in table:
        raise Unspoken((key,), name, f"the activations known here are {', '.join(sorted(table))}")
    kind, rest = table[name]
    return {"kind": kind, **rest}
