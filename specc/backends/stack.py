"""The blocks of a model as text, with what is prepared for them once a forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from specc import ir
from specc.backends import templates
from specc.backends.layers import layers, pattern
from specc.ir.component import Component

_OPTIONAL = frozenset({"attended_B11S"})
"""Masks that are None where there is no padding."""


_OWN = {"module": "nn.Module", "picked": ""}
"""What blocks are derived from, and which of its results they take of their attention."""


@dataclass(frozen=True)
class Stack:
    """Some blocks and their surroundings, rendered."""

    position: Any
    """The macros of its positions."""
    functions: tuple[str, ...]
    inputs: str
    """Arguments of the forward pass that masks ask for."""
    added: str
    """Lines that add positions to the embedded tokens."""
    prepare: str
    """Lines of the forward pass before the blocks, after those."""
    signature: str
    arguments: str
    """What a block takes between its input and its cache."""
    loop: str
    """Lines that apply the blocks."""
    attentions: tuple[str, ...]
    """Classes of attention."""
    block: str
    """The pattern, where layers differ, and the class of the blocks."""
    blocks: str
    """The call of each block's constructor, first to last."""


@dataclass(frozen=True)
class _Reading:
    """How a stack is called, and where it stands in the sequence."""

    template: str
    names: dict[str, str]
    start: dict[str, str]
    """What positions are counted from, and the range of them."""
    cache: tuple[str, ...]
    """The argument that hands the cache on, where there is one."""
    place: tuple[str, ...] = ()
    """The argument that says which layer a block is used for, where layers share blocks."""

    @property
    def placed(self) -> tuple[str, ...]:
        """The same as a parameter."""
        return tuple(f"{name}: int" for name in self.place)


_PAST = _Reading(
    "model/layers",
    {"block": "Block"},
    {"start": "start", "places": "start, start + x_BTD.shape[1]"},
    ("cache",),
)
_SHARED = _Reading("model/layers/shared", _PAST.names, _PAST.start, _PAST.cache, ("layer",))
_BOTH = _Reading("model/layers/two_sided", {}, {"start": "0", "places": "x_BTD.shape[1]"}, ())


def stack(model: ir.Model, own: ir.Model | ir.Stack) -> Stack:
    """One stack of a model: its only one, its encoder, or its decoder."""
    reading, attentions = _reading(own), by_module(own.layers, "attention")
    crossing = by_module(own.layers, "cross_attention")
    position = templates.macros(template(own.position), {**own.position.values, **reading.start})
    masks = (*_masks(attentions, own.position, "attended_BT", "x_BTD"), *_scores(attentions, own.position))
    across = _masks(crossing, own.position, "attended_BS", "memory_BSD")
    names = _names(masks)
    own_typed = (*_split(position.signature()), *_typed(masks))
    own_names = (*_split(position.arguments()), *names)
    handed, handed_typed = _crossed(across) if crossing else ((), ())
    order = layers(own.layers, reading.template, reading.names)
    holes = {
        **_OWN,
        **reading.names,
        "layers": order,
        "norm": made(next(part for name, part in own.layers[-1].parts if name.endswith("norm"))),
        "multiplier": unless_one(model.values["residual_multiplier"]),
        "dropout": model.values["residual_dropout"],
        "signature": ", ".join(
            (*own_typed, *reading.placed, *handed_typed, *(f"{name}: Cache | None" for name in reading.cache))
        ),
        "arguments": ", ".join((*own_names, *reading.place, *reading.cache)),
        "adapted": _adapted(own.layers[0]),
        "cross_arguments": ", ".join((*handed, *reading.cache)),
    }
    return Stack(
        position,
        tuple(text for part in (position, *masks, *across) if (text := part.functions().strip("\n"))),
        "".join(dict.fromkeys(mask.inputs() for mask in masks)),
        position.added(),
        position.prepare() + "".join(mask.prepare() for mask in (*masks, *across)),
        "".join(f"{typed}, " for typed in (*own_typed, *handed_typed)),
        "".join(f"{name}, " for name in (*own_names, *handed)),
        _loop(own, own_names, names, (*reading.place, *handed, *reading.cache)),
        (_attention(attentions, position, masks, reading), *(_cross_attention(part, across) for part in crossing)),
        _block(model, holes, crosses=bool(crossing)),
        order.first_and_blocks() if _starts_bare(model) else order.blocks(),
    )


def by_module(blocks: tuple[ir.Layer, ...], name: str) -> tuple[Component, ...]:
    """The components under one name, one for each class; none where blocks have no such part."""
    found = {part.values["module"]: part for layer in blocks for key, part in layer.parts if key == name}
    return tuple(found.values())


def template(component: Component) -> str:
    """The template of a component that renders something."""
    assert component.template is not None, f"{component.kind} renders nothing"
    return component.template


def made(norm: Component) -> str:
    """The call that makes a norm."""
    return f"{norm.values['module']}({norm.values['argument']})"


def unless_one(factor: float) -> float | None:
    """A factor that changes something."""
    return None if factor == 1 else factor


def _reading(own: ir.Model | ir.Stack) -> _Reading:
    values = own.layers[0].part("attention").values
    if values.get("reads", "past") == "past":
        return _SHARED if any(layer.uses > 1 for layer in own.layers) else _PAST
    prefix = values["prefix"]
    names = {
        "block": f"{prefix}Block",
        "constant": f"{prefix.upper()}_PATTERN" if prefix else "PATTERN",
        "depth": "Y" if prefix else "L",
        "attention_base": f"{prefix}Attention",
    }
    return _Reading(_BOTH.template, names, _BOTH.start, _BOTH.cache)


def _loop(own: ir.Model | ir.Stack, arguments: tuple[str, ...], masks: tuple[str, ...], more: tuple[str, ...]) -> str:
    """Each block with what it takes; where layers turn by angles of their own, in turn with those."""
    holes = {
        "sharing": own.values.get("sharing") if isinstance(own, ir.Model) else None,
        "turns": pattern(own.position.values.get("turns", ())),
        "arguments": ", ".join((*arguments, *more)),
        "biases": ", ".join((*masks, *more)),
    }
    return templates.render("model/loop.py.j2", holes).rstrip("\n")


def _block(model: ir.Model, holes: dict[str, Any], *, crosses: bool) -> str:
    folder = "model/block/cross" if crosses else "model/block"
    text = templates.render(f"{folder}/{model.values['block']}.py.j2", holes).strip("\n")
    first = [templates.render("model/block/first.py.j2", holes).strip("\n")] if _starts_bare(model) else []
    order: str = holes["layers"].order()
    return order + "\n\n\n".join((*first, text))


def _starts_bare(model: ir.Model) -> bool:
    """Whether the attention of the first block reads its input without a norm of its own."""
    return not model.values["first_attention_norm"]


def _crossed(masks: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is handed to the attention to another sequence, as arguments and as parameters."""
    return ("memory_BSD", *_names(masks)), ("memory_BSD: Tensor", *_typed(masks))


def _adapted(layer: ir.Layer) -> dict[str, bool]:
    """Which parts of a block an adapter follows."""
    return {part: f"{part}_adapter" in dict(layer.parts) for part in ("attention", "ffn")}


def _masks(attentions: tuple[Component, ...], position: Component, attended: str, x: str) -> tuple[Any, ...]:
    """The macros of what tells attention which keys a query sees."""
    names = dict.fromkeys(attention.values["mask"] for attention in attentions)
    holes = {"attended": attended, "x": x, "each": position.values.get("each", "1")}
    return tuple(templates.macros(name, holes) for name in names)


def _scores(attentions: tuple[Component, ...], position: Component) -> tuple[Any, ...]:
    """The macros of what changes its scores, where that is handed to the kernel."""
    name = position.values.get("score") or attentions[0].values.get("score")
    return () if name is None else (templates.macros(name, {**attentions[0].values, **position.values}),)


def _names(masks: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(name for mask in masks if (name := mask.name()))


def _typed(masks: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{name}: {_annotation(mask)}" for mask in masks if (name := mask.name()))


def _annotation(mask: Any) -> str:
    """The type of what a mask is handed on as."""
    if hasattr(mask, "annotation"):
        return str(mask.annotation())
    return "Tensor | None" if mask.name() in _OPTIONAL else "Tensor"


def _split(text: str) -> tuple[str, ...]:
    """The parts of `a, b, `."""
    return tuple(part for part in text.split(", ") if part)


def _attention(attentions: tuple[Component, ...], position: Any, masks: tuple[Any, ...], reading: _Reading) -> str:
    """One class; where layers differ, what they share and one class for each sort of layer."""
    first, names, typed = attentions[0], _names(masks), _typed(masks)
    signature = ", ".join((*_split(position.signature()), *typed, *reading.placed))
    # What is cached follows as one argument more.
    base = {
        "position": position,
        "base": first.values.get("base"),
        "own_layer": not reading.place,
        "signature": f"{signature}, " if signature and reading.cache else signature,
    }
    if len(attentions) == 1:
        text = _attend(first, names, gives="y_BNTH =")
        return templates.render(template(first), {**first.values, **base, "attend": text}).strip("\n")
    handed = {"kv": first.values["kv"], "names": names, "typed": typed, "base": first.values["base"]}
    attend = templates.render("model/attention/attend/by_layer.py.j2", handed).rstrip("\n")
    texts = [templates.render(template(first), {**first.values, **base, "attend": attend})]
    for attention in attentions:
        own = _attend(attention, names, gives="return")
        texts.append(templates.render("model/attention/view.py.j2", {**attention.values, **handed, "attend": own}))
    return "\n\n".join(texts).strip("\n")


def _cross_attention(attention: Component, masks: tuple[Any, ...]) -> str:
    text = _attend(attention, _names(masks), gives="y_BNTH =")
    signature = "".join(f"{name}, " for name in _typed(masks))
    return templates.render(template(attention), {**attention.values, "signature": signature, "attend": text}).strip(
        "\n"
    )


def _attend(attention: Component, names: tuple[str, ...], *, gives: str) -> str:
    """Queries, keys and values to what is attended to; `gives` begins the line of the result."""
    values = attention.values
    bias = templates.macros(values["mask"], {"attended": "", "x": ""}).name()
    mask = f"attn_mask={bias}" if bias else f"is_causal={values.get('query', 'q_BNTH')}.shape[2] > 1"
    changes = {"changed": "change" in names or values.get("score"), "slopes": "slopes_N" in names}
    holes = {**values, **changes, "bias": bias, "mask": mask, "options": _options(attention), "gives": gives}
    return templates.render(values["attend"], holes).rstrip("\n")


def _options(attention: Component) -> str:
    """Further arguments of PyTorch's fused attention. Dropout is off outside training: a share times False is 0."""
    scale, dropout = attention.values["scale"], attention.values["dropout"]
    said = [f"scale={templates.python_literal(scale)}"] if scale else []
    said += [f"dropout_p={templates.python_literal(dropout)} * self.training"] if dropout else []
    return "".join(f", {word}" for word in said)
