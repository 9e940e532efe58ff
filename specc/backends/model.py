"""`model.py`: the architecture as one file of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.layers import layers, pattern
from specc.backends.notice import notice
from specc.backends.prediction import prediction

PATH = "model.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One file, the parts in the order of use."""
    model = plan.experiment.model
    attentions = _by_module(model, "attention")
    position = templates.macros(_template(model.position), model.position.values)
    masks = [templates.macros(name, {}) for name in dict.fromkeys(a.values["mask"] for a in attentions)]
    names = [mask.name() for mask in masks if mask.name()]
    biases = "".join(f"{name}: Tensor, " for name in names)
    signature, arguments = position.signature() + biases, position.arguments() + "".join(f"{name}, " for name in names)
    order, head = layers(model), templates.macros(_template(model.head), model.head.values)
    values = {
        "title": plan.experiment.name,
        "notice": notice(),
        "family": model.family,
        "parameters": f"{model.parameters:,}",
        "dimensions": model.dimensions,
        "cache": templates.render(attentions[0].values["cache"], attentions[0].values),
        "position": position,
        "inputs": "".join(dict.fromkeys(mask.inputs() for mask in masks)),
        "prepare": position.prepare() + "".join(mask.prepare() for mask in masks),
        "arguments": arguments,
        "biases": "".join(f"{name}, " for name in names),
        "turns": pattern(model.position.values.get("turns", ())),
        "functions": [text for part in (position, *masks) if (text := part.functions().strip("\n"))],
        "classes": [*_norms(model), _attention(attentions, position, biases, names), *_feed_forwards(model)],
        "layers": order,
        **_regulation(model),
        "block": _block(model, order, signature, arguments),
        "signature": signature,
        **_ends(model, head),
    }
    values["prediction"] = prediction(model, head, values)
    values["prediction_class"] = values["prediction"].functions().strip("\n")
    return (Artifact(PATH, templates.render("model/model.py.j2", values)),)


def _ends(model: ir.Model, head: Any) -> dict[str, Any]:
    """The holes of the model's own class, before its blocks and after them."""
    norms = {name: _made(part) for name, part in (*model.inputs, *model.outputs) if part.kind.startswith("norm/")}
    logits = head.logits("self.norm(x_BTD)" if "norm" in norms else "x_BTD")
    multiplier = model.head.values["multiplier"]
    return {
        "embedding_norm": norms.get("embedding_norm"),
        "embedding_multiplier": _unless_one(model.values["embedding_multiplier"]),
        "embedding_dropout": model.values["embedding_dropout"],
        "final_norm": norms.get("norm"),
        "head": head,
        "head_class": head.functions().strip("\n"),
        "logits": logits if multiplier == 1 else f"{templates.python_literal(multiplier)} * {logits}",
        "softcap": model.head.values["softcap"],
    }


def _regulation(model: ir.Model) -> dict[str, str]:
    """What the model counts in a forward pass, and its methods that training calls."""
    found = {part.values["balancing"]: part for part in _by_module(model, "ffn") if part.values.get("balancing")}
    texts = [templates.macros(name, part.values) for name, part in found.items()]
    return {
        "count": "".join(text.count() for text in texts).lstrip("\n"),
        "methods": "".join(text.methods() for text in texts),
    }


def _norms(model: ir.Model) -> Iterator[str]:
    """Each class of norm once, also those that other parts make instances of."""
    parts = [part for _, _, part in model.counted()]
    parts += [used for part in parts for used in part.uses]
    found = {part.values["module"]: part for part in parts if part.kind.startswith("norm/")}
    return (_class(part) for part in found.values())


def _feed_forwards(model: ir.Model) -> Iterator[str]:
    return (_class(part) for part in _by_module(model, "ffn"))


def _block(model: ir.Model, order: Any, signature: str, arguments: str) -> str:
    norms = [part for layer in model.layers for name, part in layer.parts if name.endswith("norm")]
    holes = {
        "layers": order,
        **_regulation(model),
        "norm": _made(norms[0]),
        "multiplier": _unless_one(model.values["residual_multiplier"]),
        "dropout": model.values["residual_dropout"],
        "signature": signature,
        "arguments": arguments,
    }
    return templates.render(f"model/block/{model.values['block']}.py.j2", holes).strip("\n")


def _unless_one(factor: float) -> float | None:
    """A factor that changes something."""
    return None if factor == 1 else factor


def _by_module(model: ir.Model, name: str) -> tuple[ir.Component, ...]:
    """The components under one name, one for each class."""
    return tuple({layer.part(name).values["module"]: layer.part(name) for layer in model.layers}.values())


def _class(component: ir.Component) -> str:
    return templates.render(_template(component), component.values).strip("\n")


def _made(norm: ir.Component) -> str:
    """The call that makes a norm."""
    return f"{norm.values['module']}({norm.values['argument']})"


def _attention(attentions: tuple[ir.Component, ...], position: Any, biases: str, names: list[str]) -> str:
    """One class; where layers differ, what they share and one class for each sort of layer."""
    first = attentions[0]
    shared = {"position": position, "signature": position.signature() + biases}
    if len(attentions) == 1:
        text = _attend(first, several="T > 1", gives="y_BNTH =")
        return templates.render(_template(first), {**first.values, **shared, "attend": text}).strip("\n")
    handed = {"kv": first.values["kv"], "names": names}
    attend = templates.render("model/attention/attend/by_layer.py.j2", handed).rstrip("\n")
    texts = [templates.render(_template(first), {**first.values, **shared, "attend": attend})]
    for attention in attentions:
        view = {
            **attention.values,
            **handed,
            "attend": _attend(attention, several="q_BNTH.shape[2] > 1", gives="return"),
        }
        texts.append(templates.render("model/attention/view.py.j2", view))
    return "\n\n".join(texts).strip("\n")


def _attend(attention: ir.Component, *, several: str, gives: str) -> str:
    """Queries, keys and values to what is attended to.

    `several` asks whether there is more than one query, and `gives` begins the line of the result.
    """
    values = attention.values
    bias = templates.macros(values["mask"], {}).name()
    mask = f"attn_mask={bias}" if bias else f"is_causal={several}"
    holes = {**values, "bias": bias, "mask": mask, "options": _options(attention), "gives": gives}
    return templates.render(values["attend"], holes).rstrip("\n")


def _options(attention: ir.Component) -> str:
    """Further arguments of PyTorch's fused attention. Dropout is off outside training: a share times False is 0."""
    scale, dropout = attention.values["scale"], attention.values["dropout"]
    said = [f"scale={templates.python_literal(scale)}"] if scale else []
    said += [f"dropout_p={templates.python_literal(dropout)} * self.training"] if dropout else []
    return "".join(f", {word}" for word in said)


def _template(component: ir.Component) -> str:
    assert component.template is not None, f"{component.kind} renders nothing"
    return component.template
