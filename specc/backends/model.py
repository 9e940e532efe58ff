"""`model.py`: the architecture as one file of PyTorch."""

from __future__ import annotations

from typing import Any

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice

PATH = "model.py"


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One file, the parts in the order of use."""
    model = plan.experiment.model
    attentions = {layer.part("attention").values["module"]: layer.part("attention") for layer in model.layers}
    attention, ffn = model.layers[0].part("attention"), model.layers[0].part("ffn")
    position = templates.macros(_template(model.position), model.position.values)
    masks = [templates.macros(name, {}) for name in dict.fromkeys(a.values["mask"] for a in attentions.values())]
    names = [mask.name() for mask in masks if mask.name()]
    biases = "".join(f"{name}: Tensor, " for name in names)
    values = {
        "title": plan.experiment.name,
        "notice": notice(),
        "family": model.family,
        "parameters": f"{model.parameters:,}",
        "dimensions": model.dimensions,
        "kv": attention.values["kv"],
        "position": position,
        "prepare": position.prepare() + "".join(mask.prepare() for mask in masks),
        "signature": position.signature() + biases,
        "arguments": position.arguments() + "".join(f"{name}, " for name in names),
        "functions": [text for part in (position, *masks) if (text := part.functions().strip("\n"))],
        "norm": templates.render(_template(model.norm), model.norm.values),
        "norm_module": model.norm.values["module"],
        "attention": _attention(tuple(attentions.values()), position, biases, names),
        "layers": _layers(model, several=len(attentions) > 1),
        "ffn": templates.render(_template(ffn), ffn.values),
        "head": templates.macros(_template(model.head), {}),
    }
    return (Artifact(PATH, templates.render("model/model.py.j2", values)),)


def _attention(attentions: tuple[ir.Component, ...], position: Any, biases: str, names: list[str]) -> str:
    """One class; where layers differ, what they share and one class for each sort of layer."""
    first = attentions[0]
    shared = {"position": position, "signature": position.signature() + biases}
    if len(attentions) == 1:
        text = _attend(first, several="T > 1", gives="y_BNTH =")
        return templates.render(_template(first), {**first.values, **shared, "attend": text})
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
    return "\n\n".join(texts)


def _attend(attention: ir.Component, *, several: str, gives: str) -> str:
    """Queries, keys and values to what is attended to.

    `several` asks whether there is more than one query, and `gives` begins the line of the result.
    """
    bias = templates.macros(attention.values["mask"], {}).name()
    mask = f"attn_mask={bias}" if bias else f"is_causal={several}"
    holes = {**attention.values, "bias": bias, "mask": mask, "gives": gives}
    return templates.render(attention.values["attend"], holes).rstrip("\n")


def _layers(model: ir.Model, *, several: bool) -> Any:
    if not several:
        return templates.macros("model/layers/alike.py.j2", {})
    period = model.layers[0].part("attention").values["period"]
    times = model.num_layers // len(period)
    return templates.macros("model/layers/pattern.py.j2", {"period": period, "times": times if times > 1 else None})


def _template(component: ir.Component) -> str:
    assert component.template is not None, f"{component.kind} renders nothing"
    return component.template
