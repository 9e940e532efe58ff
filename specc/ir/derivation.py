"""Facts that nobody wrote: what follows from what was written, with the arithmetic as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from specc.ir.batches import BatchSizes
from specc.ir.component import Component
from specc.ir.model import Model, Stack


@dataclass(frozen=True)
class Input:
    """A number that a formula reads: its name there, and the setting or derived value that it is."""

    name: str
    value: Any
    path: str | None = None


@dataclass(frozen=True)
class Derivation:
    """A derived value. `formula` is arithmetic over the names of `inputs`, with `ceil`; a test computes each again.

    Where a value is no sum but a choice or a hash there is no formula, and `reasons` say how it came about.
    """

    path: str
    value: Any
    meaning: str
    formula: str | None
    inputs: tuple[Input, ...] = ()
    reasons: tuple[str, ...] = ()
    unit: str = ""


def derive_ramp(at: str, sizes: BatchSizes) -> tuple[Input, ...]:
    """Steps and sequences before the batch is whole, as inputs of other sums; nothing where it always is."""
    if not sizes.phases:
        return ()
    steps, sequences = (sum(counts) for counts in zip(*((n, n * size) for n, size in sizes.phases), strict=True))
    return Input("ramp_steps", steps, f"{at}.ramp_steps"), Input("ramp_sequences", sequences, f"{at}.ramp_sequences")


_OUTSIDE = {"position_embedding": "position", "lm_head": "head"}
"""What questions call a part of the model by, where that is not the attribute of the generated module."""


def parameter_derivations(model: Model) -> Iterator[Derivation]:
    """The number of parameters, of every component and in all."""
    sizes = {dimension.letter: dimension.size for dimension in model.dimensions}
    sums = [_stack(model, "", "model.num_layers" if model.encoder is None else "model.num_decoder_layers")]
    if model.encoder is not None:
        sums.insert(0, _stack(model.encoder, "encoder.", "model.num_layers"))
    for stack in sums:
        yield from (_weights(path, component, sizes) for path, component in stack.components)
    yield Derivation(
        "model.parameters",
        model.parameters,
        "Parameters; tied ones count once.",
        " + ".join(term for stack in sums for term in stack.terms),
        tuple(each for stack in sums for each in stack.inputs),
    )


@dataclass(frozen=True)
class _Sum:
    """The parameters of a stack as arithmetic."""

    components: tuple[tuple[str, Component], ...]
    """Each with its path."""
    terms: tuple[str, ...]
    inputs: tuple[Input, ...]


def _stack(stack: Model | Stack, prefix: str, depth: str) -> _Sum:
    """`depth` is the key that says how many blocks there are, where all of them are equal."""
    name_of, components = prefix.replace(".", "_"), []
    terms, inputs = [], []
    for name, component in ((_OUTSIDE.get(key, key), part) for key, part in (*stack.inputs, *stack.outputs)):
        if component.parameters:
            path = f"model.{prefix}{name}.parameters"
            components.append((path, component))
            terms.append(f"{name_of}{name}".replace(".", "_"))
            inputs.append(Input(terms[-1], component.parameters, path))
    for index, layer in enumerate(stack.layers):
        suffix = f"_{index}" if len(stack.layers) > 1 else ""
        path = f"model.{prefix}layers{suffix.replace('_', '.')}"
        parts = [(f"{path}.{name}.parameters", name, part) for name, part in layer.parts if part.parameters]
        components += [(key, part) for key, _, part in parts]
        block = [Input(f"{name_of}{name}{suffix}", part.parameters, key) for key, name, part in parts]
        said = depth if layer.uses == 1 else "model.layer_sharing.distinct"
        count = Input(f"{name_of}layers{suffix}", layer.count, None if suffix else said)
        terms.append(f"{count.name} * ({' + '.join(part.name for part in block)})")
        inputs += [count, *block]
    return _Sum(tuple(components), tuple(terms), tuple(inputs))


def _weights(path: str, component: Component, sizes: dict[str, int]) -> Derivation:
    """The sum of the shapes of a component's weights, in the letters of the dimensions."""
    shapes = [" * ".join(weight.shape).replace("*", " * ").replace("+", " + ") for weight in component.weights]
    formula = " + ".join(" ".join(shape.split()) for shape in shapes)
    letters = dict.fromkeys(re.findall(r"[A-Z]|\d+", formula))
    inputs = tuple(Input(letter, int(letter) if letter.isdigit() else sizes[letter]) for letter in letters)
    named = tuple(each for each in inputs if not each.name.isdigit())
    return Derivation(path, component.parameters, f"Parameters of one {component.kind}.", formula, named)
