"""`huggingface/`: the model as transformers loads it, its computation compiled and its attention transformers' own.

The parts that only compute are those of `model.py`, from the same templates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.layers import layers, pattern
from specc.backends.notice import notice, used
from specc.backends.stack import by_module, made, template, unless_one
from specc.ir.modeling import unwritten

FOLDER = "huggingface"
MODELING = "modeling_specc.py"
CONFIGURATION = "configuration_specc.py"
FILES = (CONFIGURATION, MODELING)
_CLASSES = {
    "AutoConfig": "configuration_specc.SpeccConfig",
    "AutoModel": "modeling_specc.SpeccModel",
    "AutoModelForCausalLM": "modeling_specc.SpeccForCausalLM",
    "AutoModelForSequenceClassification": "modeling_specc.SpeccForSequenceClassification",
}
_HEADS = {"softcap": None, "sinks": False, "kv": "N"}
"""What attentions without these choices say of them."""


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """Code and config of a model that has them, in a folder of their own."""
    model = plan.experiment.model
    if unwritten(model) is not None:
        return ()
    settings = json.dumps(config(model), indent=2) + "\n"
    files = (Artifact("config.json", settings), *modeling(plan))
    return tuple(Artifact(f"{FOLDER}/{file.path}", file.text) for file in files)


def modeling(plan: ir.Plan) -> tuple[Artifact, ...]:
    """The two files of code that stand beside weights."""
    return (
        Artifact(CONFIGURATION, templates.render("huggingface/configuration.py.j2", _configuration(plan))),
        Artifact(MODELING, templates.render("huggingface/modeling.py.j2", _modeling(plan))),
    )


def config(model: ir.Model) -> dict[str, Any]:
    """`config.json`, without the type of weights and the ids of special tokens."""
    said = {name: value for name, _, value in _fields(model) if value is not None}
    if _windows(model) == "some":
        said["layer_types"] = list(_layer_types(model))
    return {"architectures": ["SpeccForCausalLM"], "auto_map": _CLASSES, "model_type": "specc", **said}


def moves(model: ir.Model) -> tuple[dict[str, Any], ...]:
    """Which tensor is which, in JSON types: ours below `model.`, the head as it is."""
    names = [weight.name for weight in model.weights()]
    names += [f"{prefix}router.correction" for prefix, part in model.placed() if part.values.get("corrected")]
    return tuple(
        {
            "theirs": name if name.startswith("lm_head.") else f"model.{name}",
            "ours": [name],
            "how": "same",
            "sizes": [],
            "groups": 1,
            "index": None,
        }
        for name in names
    )


def _configuration(plan: ir.Plan) -> dict[str, Any]:
    model = plan.experiment.model
    return {
        "title": plan.experiment.name,
        "notice": notice(),
        "fields": [{"name": name, "type": kind, "value": value} for name, kind, value in _fields(model)],
        "layer_types": pattern([repr(word) for word in _layer_types(model)]) if _windows(model) == "some" else None,
    }


def _fields(model: ir.Model) -> Iterator[tuple[str, str, Any]]:
    """Name, type and value of what the config says."""
    size = {dimension.letter: dimension.size for dimension in model.dimensions}
    key_heads, head = _letters(model)
    yield "vocab_size", "int", model.vocab_size
    yield "hidden_size", "int", size["D"]
    yield "num_hidden_layers", "int", size["L"]
    yield "num_attention_heads", "int", size["N"]
    yield "num_key_value_heads", "int", size[key_heads]
    yield "head_dim", "int", size[head]
    if "I" in size:
        yield "intermediate_size", "int", size["I"]
    if "E" in size:
        yield "num_experts", "int", size["E"]
        yield "num_experts_per_tok", "int", size["A"]
    yield "max_position_embeddings", "int", model.context_length
    if _windows(model):
        yield "sliding_window", "int", size["W"]
    if _windows(model) == "some":  # with a window and no types, transformers takes all layers to have it
        yield "layer_types", "list[str] | None", None
    yield "initializer_range", "float", model.embedding.weights[0].init.std
    yield "tie_word_embeddings", "bool", model.is_tied
    yield "use_cache", "bool", True
    yield from ((f"{name}_token_id", kind, None) for name, kind in _TOKENS)


_TOKENS = (("bos", "int | None"), ("eos", "int | list[int] | None"), ("pad", "int | None"))


def _modeling(plan: ir.Plan) -> dict[str, Any]:
    model = plan.experiment.model
    attentions = by_module(model.layers, "attention")
    position = _position(model)
    adds_bias = _adds_bias(model)
    order = layers(model.layers, "huggingface/layers", {"block": "Block"})
    given = f"{'bias_BNTS, ' if adds_bias else ''}{position.arguments()}"
    takes = f"attention_mask: Tensor | None, {'bias_BNTS: Tensor, ' if adds_bias else ''}{position.signature()}"
    signature = f"{takes}past_key_values: Cache | None, **kwargs: Any"
    return {
        "title": plan.experiment.name,
        "notice": notice(),
        "family": model.family,
        "parameters": f"{model.parameters:,}",
        "used": used(model),
        "dimensions": model.dimensions,
        "parts": [*_functions(model, position), *_classes(model, position, signature)],
        "layers": order,
        "block": _block(model, order, signature, f"attention_mask, {given}past_key_values, **kwargs"),
        "position": position,
        "mask_functions": ", ".join(sorted({_mask(attention) for attention in attentions})),
        "masks": _masks(model, position),
        "given": given,
        "turns": pattern(["near" if _is_windowed(one) else "far" for one in _each(model)])
        if len(attentions) > 1
        else None,
        "kv": _letters(model)[0],
        "head": _letters(model)[1],
        "windows": _windows(model),
        **_support(model),
        **_regulation(model),
        **_ends(model),
        "rules": tuple(_rules(model)),
    }


def _functions(model: ir.Model, position: Any) -> Iterator[str]:
    """What stands before the classes: positions, and attention written out."""
    if text := position.functions().strip("\n"):
        yield text
    values = {**_HEADS, **by_module(model.layers, "attention")[0].values}
    holes = {**values, "adds_bias": _adds_bias(model), "grouped": values["kv"] != "N"}
    yield templates.render("huggingface/eager.py.j2", holes).strip("\n")


def _classes(model: ir.Model, position: Any, signature: str) -> Iterator[str]:
    parts = [part for _, _, part in model.counted()]
    parts += [used for part in parts for used in part.uses]
    yield from (_class(part) for part in {p.values["module"]: p for p in parts if _is_norm(p)}.values())
    attentions = by_module(model.layers, "attention")
    first = attentions[0]
    q, k, v = ("q_BNTQ", "k_BNSQ", "v_BNSH") if first.kind == "attention/mla" else _heads(first)
    holes = {
        **_HEADS,
        **first.values,
        "position": position,
        "signature": signature,
        "adds_bias": _adds_bias(model),
        "windows": _windows(model),
        "always": _windows(model) == "all",
        "q": q,
        "k": k,
        "v": v,
    }
    yield templates.render(_own(template(first)), holes).strip("\n")
    for attention in attentions if len(attentions) > 1 else ():
        view = {**attention.values, "windowed": _is_windowed(attention)}
        yield templates.render("huggingface/attention/view.py.j2", view).strip("\n")
    yield from (_class(part) for part in by_module(model.layers, "ffn"))


def _block(model: ir.Model, order: Any, signature: str, arguments: str) -> str:
    norms = [part for layer in model.layers for name, part in layer.parts if _is_norm(part)]
    holes = {
        "block": "Block",
        "layers": order,
        "norm": made(norms[0]),
        "multiplier": unless_one(model.values["residual_multiplier"]),
        "dropout": model.values["residual_dropout"],
        "module": "GradientCheckpointingLayer",
        "signature": signature,
        "arguments": arguments,
        "adapted": {"attention": False, "ffn": False},
        "picked": "[0]",
    }
    return templates.render(f"model/block/{model.values['block']}.py.j2", holes).strip("\n")


def _masks(model: ir.Model, position: Any) -> str:
    """The masks of each sort of layer, and with them what else such a layer is given."""
    each = _each(model)
    first_near = next((index for index, one in enumerate(each) if _is_windowed(one)), 0)
    first_far = next((index for index, one in enumerate(each) if not _is_windowed(one)), 0)
    holes = {
        "position": position,
        "adds_bias": _adds_bias(model),
        "windowed": _is_windowed(each[0]),
        "first_near": first_near,
        "first_far": first_far,
    }
    name = "two" if _windows(model) == "some" else "one"
    return templates.render(f"huggingface/masks/{name}.py.j2", holes).rstrip("\n")


def _support(model: ir.Model) -> dict[str, Any]:
    """Which implementations of attention compute all that the model asks for, in transformers 5.23.

    `sdpa` refuses a bound of scores and drops sinks; flash attention and vLLM drop a bias, the paged form of the plain
    one drops biases and bounds, and flex attention wants a bias for each row of a batch, where one serves all.
    """
    values = {**_HEADS, **by_module(model.layers, "attention")[0].values}
    biased, bounded, sinks = _adds_bias(model), bool(values["softcap"]), bool(values["sinks"])
    named = {"the position bias": biased, "the bound of the scores": bounded, "the sinks": sinks}
    special = [name for name, needed in named.items() if needed]
    computes = {
        "eager": True,
        "sdpa": not bounded and not sinks,
        "flex_attention": not biased,
        "paged|eager": not biased and not bounded,
    }
    follows_length = model.position.values.get("rotation", "").endswith("rotation_by_length.py.j2")
    has_experts = any(part.kind == "ffn/moe" for part in by_module(model.layers, "ffn"))
    return {
        "supports": {
            "sdpa": computes["sdpa"],
            "flash": not special,
            "flex": computes["flex_attention"],
            "backend": not special,
            "fullgraph": not has_experts and not follows_length,
        },
        "implementations": tuple(name for name, does in computes.items() if does) if special else None,
        "left_out": " and ".join(special),
    }


def _ends(model: ir.Model) -> dict[str, Any]:
    """The holes of the model's own classes, before its blocks and after them."""
    norms = {name: made(part) for name, part in (*model.inputs, *model.outputs) if _is_norm(part)}
    head = model.head.values
    return {
        "embedding_norm": norms.get("embedding_norm"),
        "embedding_multiplier": unless_one(model.values["embedding_multiplier"]),
        "embedding_dropout": model.values["embedding_dropout"],
        "final_norm": norms.get("norm"),
        "output_dropout": model.values["output_dropout"],
        "head_bias": head["bias"],
        "logit_multiplier": unless_one(head["multiplier"]),
        "logit_softcap": head["softcap"],
        "auxiliary_loss": model.regulation.auxiliary_loss,
        "corrected": any(part.values.get("corrected") for part in by_module(model.layers, "ffn")),
    }


def _regulation(model: ir.Model) -> dict[str, str]:
    """What the model counts in a forward pass, and its methods that training calls."""
    found = {part.values["balancing"]: part for part in by_module(model.layers, "ffn") if part.values.get("balancing")}
    texts = [templates.macros(name, part.values) for name, part in found.items()]
    return {
        "count": "".join(text.count() for text in texts).lstrip("\n"),
        "methods": "".join(text.methods() for text in texts),
    }


def _rules(model: ir.Model) -> Iterator[dict[str, Any]]:
    """How weights begin that are neither a linear layer's nor a table's: (class, (name, distribution) of each)."""
    parts = [part for _, _, part in model.counted()]
    norms = {p.values["module"]: p for part in parts for p in (part, *part.uses) if _is_norm(p)}
    for name, norm in norms.items():
        if norm.weights:
            yield _rule(name, norm.weights)
    if any(weight.name == "sinks" for part in parts for weight in part.weights):
        yield {"module": "Attention", "weights": (_begun("sinks", "zeros"),)}
    for part in by_module(model.layers, "ffn"):
        if part.kind != "ffn/moe":
            continue
        for name, prefix in (("Router", "router."), ("Experts", "experts.")):
            own = [
                ir.Weight(w.name.removeprefix(prefix), w.shape, w.sizes, w.init)
                for w in part.weights
                if w.name.startswith(prefix)
            ]
            yield _rule(name, tuple(own))
        if part.values.get("corrected"):
            buffers = (_begun(name, "zeros") for name in ("correction", "seen_E"))
            yield {"module": "Router", "weights": tuple(buffers)}


def _rule(module: str, weights: tuple[ir.Weight, ...]) -> dict[str, Any]:
    return {"module": module, "weights": tuple(_begun(w.name, w.init.distribution) for w in weights)}


def _begun(name: str, how: str) -> dict[str, Any]:
    return {"name": name, "how": how, "drawn": how == "normal"}


def _position(model: ir.Model) -> Any:
    """Its macros; what it includes of its own stands beside them, and angles are [B, 1, T, ...].

    They are the same for every kernel, and whether documents are kept apart or not.
    """
    values = {**model.position.values, "rows": "B1T"}
    if values.get("rotation"):
        values["rotation"] = _own(values["rotation"])
    if model.position.kind == "position/alibi":
        values["bias"] = _ALIBI[values["rounded"]]
    return templates.macros(f"huggingface/{model.position.kind}.py.j2", values)


_ALIBI = {False: "huggingface/position/alibi_bias_fp32.py.j2", True: "huggingface/position/alibi_bias_bf16.py.j2"}
"""The bias of slopes, as they are and rounded."""


def _adds_bias(model: ir.Model) -> bool:
    """Whether positions add to the scores, be it in a kernel."""
    return model.position.kind in ("position/alibi", "position/relative")


def _letters(model: ir.Model) -> tuple[str, str]:
    """The letters of key/value heads, and of the values of a query head."""
    attention = model.layers[0].part("attention")
    return ("N", "Q") if attention.kind == "attention/mla" else (attention.values["kv"], "H")


def _heads(attention: ir.Component) -> tuple[str, str, str]:
    kv = attention.values["kv"]
    return "q_BNTH", f"k_B{kv}SH", f"v_B{kv}SH"


def _each(model: ir.Model) -> tuple[ir.Component, ...]:
    """The attention of each layer, first to last."""
    return tuple(layer.part("attention") for layer in model.layers for _ in range(layer.count))


def _is_windowed(attention: ir.Component) -> bool:
    return any(dimension.letter == "W" for dimension in attention.dimensions)


def _windows(model: ir.Model) -> str | None:
    """Whether `all` layers have a window, or `some`."""
    found = {_is_windowed(attention) for attention in _each(model)}
    if found == {True, False}:
        return "some"
    return "all" if found == {True} else None


def _layer_types(model: ir.Model) -> tuple[str, ...]:
    return tuple("sliding_attention" if _is_windowed(one) else "full_attention" for one in _each(model))


def _mask(attention: ir.Component) -> str:
    return "create_sliding_window_causal_mask" if _is_windowed(attention) else "create_causal_mask"


def _own(template: str) -> str:
    """Our template where `model.py` has another; positions are given, wherever documents begin."""
    return template.replace("model/", "huggingface/", 1).replace("/documents/", "/")


def _class(component: ir.Component) -> str:
    return templates.render(template(component), component.values).strip("\n")


def _is_norm(component: ir.Component) -> bool:
    return component.kind.startswith("norm/")
