"""`model.py`: the architecture as one file of PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from specc import ir
from specc.backends import templates
from specc.backends.artifact import Artifact
from specc.backends.notice import notice, used
from specc.backends.prediction import prediction
from specc.backends.stack import Stack, by_module, made, stack, template, unless_one
from specc.ir.component import Component

PATH = "model.py"
_TEMPLATES = {
    "decoder": "model/model.py.j2",
    "encoder": "model/encoder.py.j2",
    "encoder_decoder": "model/encoder_decoder.py.j2",
}

_PLACES = (("start", "int"), ("begins_BT", "Tensor"))
"""Where tokens stand: what positions that are added to them may ask for."""

_FAMILIES = {"decoder": "a decoder", "encoder": "an encoder", "encoder_decoder": "an encoder-decoder"}


def emit(plan: ir.Plan) -> tuple[Artifact, ...]:
    """One file, the parts in the order of use."""
    model = plan.experiment.model
    own = stack(model, model)
    encoder = None if model.encoder is None else stack(model, model.encoder)
    stacks = (own,) if encoder is None else (encoder, own)
    kernel = {**model.layers[0].part("attention").values, "changed": "change: Change" in own.signature}
    documents = [] if model.values["document"] is None else [templates.render("model/documents.py.j2", {}).strip("\n")]
    values: dict[str, Any] = {
        "title": plan.experiment.name,
        "notice": notice(),
        "family": _FAMILIES[model.family],
        "parameters": f"{model.parameters:,}",
        "used": used(model),
        "dimensions": model.dimensions,
        "kernel": templates.macros(kernel["kernel"], kernel),
        "document": model.values["document"],
        "documents": bool(documents),
        "cache": _cache(model),
        "stack": own,
        "encoder": encoder,
        "functions": (*documents, *_once(text for each in stacks for text in each.functions)),
        "classes": (
            *_norms(model),
            *(text for each in stacks for text in each.attentions),
            *_feed_forwards(model),
            *_adapters(model),
        ),
        "blocks": tuple(each.block for each in stacks),
        **_calls(own),
        "signature": own.signature,
        "arguments": own.arguments,
        **_regulation(model),
        **_ends(model),
    }
    values["embedding_goes_on"] = any(values[name] for name in ("added", "embedding_norm", "embedding_dropout"))
    values["prediction"] = prediction(model, values["head"], values)
    values["prediction_class"] = values["prediction"].functions().strip("\n")
    return (Artifact(PATH, templates.render(_TEMPLATES[model.family], values)),)


def _once(texts: Iterable[str]) -> Iterator[str]:
    """Each definition once: two stacks may have some in common and others of their own."""
    yield from dict.fromkeys(part.strip("\n") for text in texts for part in text.split("\n\n\n"))


def _cache(model: ir.Model) -> str:
    """The class of what decoding keeps; an encoder keeps nothing."""
    values = model.layers[0].part("attention").values
    if model.family == "encoder":
        return ""
    name = values["cache"] if model.encoder is None else "model/cache/sources.py.j2"
    return templates.render(name, values)


def _calls(own: Stack) -> dict[str, str]:
    """What the methods of a decoder are given, and hand on to each other."""
    inputs = re.findall(r"(\w+):", own.inputs)
    placed = [(name, kind) for name, kind in _PLACES if re.search(rf"\b{name}\b", own.added)]
    return {
        "added": own.added,
        "prepare": own.prepare,
        "inputs": own.inputs,
        "handed_on": "".join(f", {name}" for name in inputs),
        "embed_typed": "".join(f", {name}: {kind}" for name, kind in placed),
        "embed_arguments": "".join(f", {name}" for name, _ in placed),
    }


def _ends(model: ir.Model) -> dict[str, Any]:
    """The holes of the model's own class, before its blocks and after them."""
    norms = {name: made(part) for name, part in (*model.inputs, *model.outputs) if part.kind.startswith("norm/")}
    head = templates.macros(template(model.head), model.head.values)
    return {
        "embedding_norm": norms.get("embedding_norm"),
        "embedding_multiplier": unless_one(model.values["embedding_multiplier"]),
        "embedding_dropout": model.values["embedding_dropout"],
        "token_types": "token_type_embedding" in dict(model.inputs),
        "final_norm": norms.get("norm"),
        "hidden": _hidden(model, norms),
        "head": head,
        "head_class": head.functions().strip("\n"),
        "gives": head.gives(),
        **_outputs(model),
        "logits": _logits(model, head.logits(_hidden(model, norms))),
        "softcap": model.head.values.get("softcap"),
    }


def _hidden(model: ir.Model, norms: dict[str, str]) -> str:
    """What comes out of a stack."""
    text, share = "self.norm(x_BTD)" if "norm" in norms else "x_BTD", model.values["output_dropout"]
    return f"F.dropout({text}, {templates.python_literal(share)}, self.training)" if share else text


def _logits(model: ir.Model, text: str) -> str:
    multiplier = model.head.values.get("multiplier", 1)
    return text if multiplier == 1 else f"{templates.python_literal(multiplier)} * {text}"


def _outputs(model: ir.Model) -> dict[str, Any]:
    """What an encoder makes after its blocks and does with it; other models have a head alone."""
    if model.family != "encoder":
        return {}
    return {"output_modules": tuple(_output_modules(model)), "output_lines": tuple(_output_lines(model))}


def _output_modules(model: ir.Model) -> Iterator[str]:
    """What the constructor makes for what comes after the blocks."""
    for name, part in model.outputs:
        if part.kind.startswith("norm/"):
            yield f"        self.{name} = {made(part)}"
        elif text := templates.macros(template(part), part.values).modules().strip("\n"):
            yield text


def _output_lines(model: ir.Model) -> Iterator[str]:
    """What an encoder makes of its last hidden states, line by line."""
    x, share = "x_BTD", model.values["output_dropout"]
    for name, part in model.outputs[:-1]:
        if part.kind.startswith("norm/"):
            yield f"        {x} = self.{name}({x})"
        else:
            yield templates.macros(template(part), part.values).lines(x)
            x = "x_BD" if part.kind.startswith("head/pool") else x
        if name == "norm" and share:
            yield f"        {x} = F.dropout({x}, {templates.python_literal(share)}, self.training)"
    head = model.outputs[-1][1]
    yield f"        return {_logits(model, templates.macros(template(head), head.values).logits(x))}"


def _regulation(model: ir.Model) -> dict[str, str]:
    """What the model counts in a forward pass, and its methods that training calls."""
    ffns = by_module(model.blocks, "ffn")
    found = {part.values["balancing"]: part for part in ffns if part.values.get("balancing")}
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
    return (_class(part) for part in by_module(model.blocks, "ffn"))


def _adapters(model: ir.Model) -> Iterator[str]:
    """The class of what follows the parts of a block, where there is one."""
    parts = [part for name, part in model.layers[0].parts if name.endswith("_adapter")]
    return (_class(part) for part in parts[:1])


def _class(component: Component) -> str:
    return templates.render(template(component), component.values).strip("\n")
