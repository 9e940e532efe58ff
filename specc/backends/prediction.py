"""The parts of a model that predict the tokens after the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from specc import ir
from specc.backends import templates


def prediction(model: ir.Model, head: Any, holes: Mapping[str, Any]) -> Any:
    """The macros of what is added: a class, modules, and the method `predict`. `holes` are those of the model."""
    asked = model.values.get("prediction")
    if asked is None:
        return templates.macros("model/prediction/none.py.j2", {})
    more = {
        **holes,
        "more": asked["depth"] - 1,
        "counts": holes["documents"]
        or re.search(r"\bstart\b", holes["embed_arguments"] + holes["prepare"]) is not None,
        "block": _block(model),
        "norm": _norm(model),
        "signature": "".join(f", {part}" for part in holes["signature"].rstrip(", ").split(", ") if part),
        "handed": "".join(f", {part}" for part in holes["arguments"].rstrip(", ").split(", ") if part),
        "bounded": "self.logits(x_BTD)",
        "bounded_own": _bounded(_logits(model, head), holes["softcap"]),
    }
    return templates.macros(f"model/prediction/{asked['variant']}.py.j2", more)


def _norm(model: ir.Model) -> str:
    """The call that makes a norm of the stream."""
    norm = next(part for name, part in model.layers[-1].parts if name.endswith("norm"))
    return f"{norm.values['module']}({norm.values['argument']})"


def _block(model: ir.Model) -> str:
    """The call that makes another block like the last one."""
    attentions, ffns = (dict.fromkeys(layer.part(name).values["module"] for layer in model.layers) for name in _PARTS)
    attention, ffn = (model.layers[-1].part(name).values["module"] for name in _PARTS)
    first = "L - 1" if len(attentions) == 1 else f"{attention}(L - 1)"
    return f"Block({first})" if len(ffns) == 1 else f"Block({first}, {ffn}())"


def _logits(model: ir.Model, head: Any) -> str:
    logits, multiplier = head.logits("part.norm(x_BTD)"), model.head.values["multiplier"]
    return logits if multiplier == 1 else f"{templates.python_literal(multiplier)} * {logits}"


def _bounded(logits: str, softcap: float | None) -> str:
    if softcap is None:
        return logits
    bound = templates.python_literal(softcap)
    return f"{bound} * torch.tanh({logits} / {bound})"


_PARTS = ("attention", "ffn")
