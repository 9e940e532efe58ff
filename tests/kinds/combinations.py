"""Models drawn at random over everything that the language has for them, each from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

Section = dict[str, Any]
CONTEXT, WIDTH = 32, 48
PLAIN_FFN = ("relu", "gelu", "squared_relu", "swiglu", "geglu", "reglu")


def drawn(seed: int, kind: str | None = None) -> tuple[str, ...]:
    """The overrides of the tiny spec that make the model of a seed."""
    chance = random.Random(seed)
    kind = kind or chance.choices(("decoder", "encoder", "encoder_decoder"), (8, 2, 2))[0]
    layers = chance.choice((2, 3, 4))
    model: Section = {
        "kind": kind,
        "hidden_size": WIDTH,
        "num_layers": layers,
        "context_length": CONTEXT,
        "attention": _attention(chance, layers, kind),
        "norm": _norm(chance),
        "norm_placement": chance.choice(("pre", "post", "sandwich", "output")),
        "residual_multiplier": chance.choice((1.0, 1.0, 0.3)),
        "ffn": _ffn(chance, layers),
        "dropout": _dropout(chance),
        "init": chance.choice(({"kind": "depth_scaled"}, {"kind": "normal"}, {"kind": "mup", "base_hidden_size": 24})),
        "pad_vocab_size_multiple": chance.choice((1, 1, 16)),
    }
    model["position"] = _position(chance, model["attention"], causal=kind == "decoder")
    model["embedding"] = _embedding(chance, kind)
    if kind != "encoder_decoder" and _maybe(chance, 0.3):
        model["residual"] = chance.choice(("parallel", "parallel_two_norms"))
        model["norm_placement"] = "pre"
    more = {"decoder": _decoder, "encoder": _encoder, "encoder_decoder": _encoder_decoder}[kind](chance, model)
    return (f"model={json.dumps(model)}", *more)


def on_gpu(seed: int, kernel: str) -> tuple[str, ...]:
    """The same for a kernel that runs on GPUs only, with heads that are large enough for it."""
    said, *more = drawn(seed, "decoder")
    model = json.loads(said.removeprefix("model="))
    model["attention"] |= {"kernel": kernel}
    if "head_dim" in model["attention"]:
        model["attention"] |= {"head_dim": 16}
    if (model["position"].get("scaling") or {}).get("kind") == "longrope":
        model["position"]["scaling"] = {"kind": "linear", "factor": 4}
    gpu = ("cluster={device: h100_sxm}", "stages.pretrain.precision=bf16")
    return (f"model={json.dumps(model)}", *more, *gpu)


def _maybe(chance: random.Random, share: float = 0.5) -> bool:
    return chance.random() < share


def _decoder(chance: random.Random, model: Section) -> tuple[str, ...]:
    model["head"] = _head(chance)
    model["tie_embeddings"] = _maybe(chance)
    if _maybe(chance, 0.15):
        distinct = chance.choice([n for n in range(1, model["num_layers"] + 1) if model["num_layers"] % n == 0])
        model["layer_sharing"] = {"distinct": distinct, "order": chance.choice(("consecutive", "cyclic"))}
    if _maybe(chance, 0.15):
        after = chance.choice((["attention"], ["ffn"], ["attention", "ffn"]))
        model["adapters"] = {"size": 8, "activation": chance.choice(("gelu", "relu")), "after": after}
    if _maybe(chance, 0.15):
        model["prediction"] = {"depth": chance.choice((2, 3)), "variant": chance.choice(("parallel", "sequential"))}
        return ("stages.pretrain.objective={kind: multi_token}",)
    return chance.choices(
        (
            (),
            ("stages.pretrain.packing.cross_document=false",),
            ("stages.pretrain.objective={kind: prefix}",),
        ),
        (6, 2, 1),
    )[0]


def _encoder(chance: random.Random, model: Section) -> tuple[str, ...]:
    transform = {
        "activation": chance.choice(("gelu", "gelu_tanh", "relu", "silu", "tanh")),
        "bias": _maybe(chance),
        "norm": _maybe_norm(chance),
    }
    pooling = {"pooling": chance.choice(("first", "mean", "last")), "pooler": _maybe(chance)}
    dense = {"transform": chance.choice((None, transform)), "bias": _maybe(chance)}
    model["head"] = chance.choice(
        (
            {"kind": "masked_lm", **dense},
            {"kind": "classification", "num_labels": 3, "dropout": 0.1, "pooler_dropout": 0.1, **dense, **pooling},
            {"kind": "token_classification", "num_labels": 5, "dropout": chance.choice((0.0, 0.1)), **dense},
            {"kind": "pooled", "normalize": _maybe(chance), **pooling},
            {"kind": "none"},
        )
    )
    model["tie_embeddings"] = model["head"]["kind"] != "masked_lm" or _maybe(chance)
    sequential = model["norm_placement"] == "pre" and "residual" not in model
    model["first_attention_norm"] = not (sequential and _maybe(chance))
    return ("stages.pretrain.objective={kind: masked}",)


def _encoder_decoder(chance: random.Random, model: Section) -> tuple[str, ...]:
    model["head"] = _head(chance)
    model["tie_embeddings"] = _maybe(chance)
    model["num_decoder_layers"] = chance.choice(("auto", model["num_layers"], 2 * model["num_layers"]))
    return ("stages.pretrain.objective={kind: span_corruption}",)


def _head(chance: random.Random) -> Section:
    multiplier, softcap = chance.choice((1.0, 1.0, 0.2)), chance.choice((None, None, 3.0))
    return {"kind": "lm", "bias": _maybe(chance, 0.3), "multiplier": multiplier, "softcap": softcap}


def _norm(chance: random.Random) -> Section:
    if _maybe(chance):
        eps = chance.choice((1e-5, 1e-6))
        return {"kind": "rmsnorm", "eps": eps, "unit_offset": _maybe(chance, 0.3)}
    return {"kind": "layernorm", "bias": _maybe(chance), "weight": _maybe(chance, 0.8)}


def _maybe_norm(chance: random.Random, share: float = 0.4) -> Section | None:
    return _norm(chance) if _maybe(chance, share) else None


def _dropout(chance: random.Random) -> Section:
    names = ("embedding", "attention", "residual", "ffn", "output")
    return {name: chance.choice((0.0, 0.0, 0.0, 0.1)) for name in names}


def _embedding(chance: random.Random, kind: str) -> Section:
    types = {"token_types": chance.choice((0, 1, 2))} if kind == "encoder" else {}
    return {"multiplier": chance.choice((1.0, 2.5, "sqrt_hidden_size")), "norm": _maybe_norm(chance, 0.3), **types}


def _attention(chance: random.Random, layers: int, kind: str) -> Section:
    if kind == "decoder" and _maybe(chance, 0.2):
        return _latent(chance)
    name = chance.choice(("gqa", "mha", "mqa"))
    heads = chance.choice((2, 4, 6))
    attention: Section = {
        "kind": name,
        "num_heads": heads,
        "head_dim": chance.choice(("auto", 8, 16)),
        "bias": chance.choice(("none", "qkv", "all")),
        "clip_qkv": chance.choice((None, None, 0.5)),
        "scale": chance.choice(("auto", "auto", 0.3, 1.0)),
        "sinks": _maybe(chance, 0.2),
        "logit_softcap": chance.choice((None, None, None, 3.0)),
        "kernel": "auto",
    }
    if name == "gqa":
        attention["num_kv_heads"] = chance.choice([n for n in range(1, heads + 1) if heads % n == 0])
    if norm := _maybe_norm(chance):
        attention |= {"qk_norm": norm, "qk_norm_over": chance.choice(("head", "each_head", "width"))}
    if _maybe(chance, 0.4):
        patterns = [None, *(text for text in ("L", "LG", "GL", "LLG", "GLL", "LGLL") if layers % len(text) == 0)]
        attention |= {
            "window": chance.choice((1 if kind == "decoder" else 2, 3, 6)),
            "pattern": chance.choice(patterns),
        }
    bound = attention["logit_softcap"] or attention["sinks"]
    attention["kernel"] = chance.choice(("auto", "eager", "auto" if bound else "sdpa"))
    return attention


def _latent(chance: random.Random) -> Section:
    return {
        "kind": "mla",
        "num_heads": chance.choice((2, 4)),
        "kv_lora_rank": chance.choice((8, 24)),
        "q_lora_rank": chance.choice((None, 20)),
        "qk_nope_head_dim": chance.choice((8, 16)),
        "qk_rope_head_dim": 8,
        "v_head_dim": chance.choice((8, 12, 24)),
        "bias": _maybe(chance),
        "scale": chance.choice(("auto", 0.3)),
        "norm_eps": chance.choice((1e-6, 1e-5)),
        "kernel": chance.choice(("auto", "eager", "sdpa")),
    }


def _position(chance: random.Random, attention: Section, *, causal: bool) -> Section:
    turns_only = attention["kind"] == "mla"
    others = ("alibi", "learned", "sinusoidal", "relative", "none")
    name = "rope" if turns_only or _maybe(chance) else chance.choice(others)
    if name == "rope":
        return _rope(chance, attention)
    if name == "alibi":
        bf16 = causal and _maybe(chance, 0.3)
        precision = "bf16" if bf16 else "fp32"
        slopes = {"max_bias": chance.choice((8.0, 4.0)), "multiplier": chance.choice((1.0, 0.25))}
        return {"kind": name, "slope_precision": precision, **slopes}
    if name == "learned":
        return {"kind": name, "num_positions": chance.choice(("auto", 40)), "offset": chance.choice((0, 2))}
    if name == "relative":
        return {"kind": name, "num_buckets": chance.choice((8, 9, 32)), "max_distance": chance.choice((20, 128))}
    return {"kind": name}


def _rope(chance: random.Random, attention: Section) -> Section:
    latent = attention["kind"] == "mla"
    size = attention.get("head_dim", attention.get("qk_rope_head_dim"))
    size = WIDTH // attention["num_heads"] if size == "auto" else size
    part = 1.0 if latent or _maybe(chance, 0.6) else chance.choice((0.25, 0.5))
    rope: Section = {
        "kind": "rope",
        "rope_theta": chance.choice((10000.0, 500.0)),
        "layout": chance.choice(("half_split", "interleaved")),
        "partial_rotary_factor": part,
    }
    if len(set(attention.get("pattern") or "")) > 1 and _maybe(chance):
        rope["local_rope_theta"] = 100.0
    if _maybe(chance, 0.4):
        scaling = _scaling(chance, int(size * part) // 2)
        # Scalings that follow the length change nothing in a cache within the original context only.
        by_length = scaling["kind"] in ("dynamic", "longrope")
        rope |= {"scaling": scaling, "original_context_length": CONTEXT if by_length else 8}
    return rope


def _scaling(chance: random.Random, pairs: int) -> Section:
    kind = chance.choice(("linear", "dynamic", "yarn", "llama3", "longrope"))
    if kind == "longrope":
        short, long = [1.0 + pair / 4 for pair in range(pairs)], [2.0 + pair for pair in range(pairs)]
        return {"kind": kind, "short_factor": short, "long_factor": long}
    scaling: Section = {"kind": kind, "factor": 4}
    if kind == "yarn":
        scaling |= {"truncate": _maybe(chance), "attention_factor": chance.choice(("auto", 1.0, 1.2))}
    return scaling


def _ffn(chance: random.Random, layers: int) -> Section:
    if _maybe(chance, 0.4):
        return _experts(chance, layers)
    kind = chance.choice(PLAIN_FFN)
    approximate = {"approximate": chance.choice(("none", "tanh"))} if kind in ("gelu", "geglu") else {}
    return {"kind": kind, "intermediate_size": 64, "bias": _maybe(chance), **approximate}


def _experts(chance: random.Random, layers: int) -> Section:
    shared, groups = chance.choice((0, 0, 1, 2)), chance.choice((1, 2, 4))
    balancing = chance.choice(({"kind": "none"}, {"kind": "loss"}, {"kind": "bias"}))
    ffn: Section = {
        "kind": "moe",
        "num_experts": 8,
        "experts_per_token": chance.choice((1, 2, 3)),
        "intermediate_size": 24,
        "num_shared_experts": shared,
        "activation": chance.choice(("swiglu", "clamped_swiglu")),
        "bias": _maybe(chance, 0.3),
        "router_bias": _maybe(chance, 0.3),
        "scoring": chance.choice(("softmax", "sigmoid")),
        "normalize_weights": _maybe(chance),
        "routed_scaling_factor": chance.choice((1.0, 2.5)),
        "num_groups": groups,
        "balancing": balancing,
        "capacity_factor": chance.choice((None, None, 1.25)),
    }
    if groups > 1:
        ffn |= {"groups_per_token": groups // 2, "group_score": chance.choice(("max", "top2_sum"))}
    if shared:
        ffn |= {"shared_intermediate_size": chance.choice(("auto", 40)), "shared_gate": _maybe(chance)}
    if _maybe(chance, 0.3):
        some = sorted(chance.sample(range(layers), chance.randint(1, layers - 1)))
        ffn["dense"] = {"layers": some, "intermediate_size": 64}
    return ffn
