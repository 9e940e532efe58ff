"""Facts that nobody wrote: what follows from what was written, with the arithmetic as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from specc.ir.component import Component
from specc.ir.model import Model


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


_OUTSIDE = {"position_embedding": "position", "lm_head": "head"}
"""What questions call a part of the model by, where that is not the attribute of the generated module."""


def parameter_derivations(model: Model) -> Iterator[Derivation]:
    """The number of parameters, of every component and in all."""
    sizes = {dimension.letter: dimension.size for dimension in model.dimensions}
    outside = tuple((_OUTSIDE.get(name, name), component) for name, component in (*model.inputs, *model.outputs))
    terms, inputs = [], []
    for name, component in outside:
        if component.parameters:
            path, term = f"model.{name}.parameters", name.replace(".", "_")
            yield _weights(path, component, sizes)
            terms.append(term)
            inputs.append(Input(term, component.parameters, path))
    for index, layer in enumerate(model.layers):
        suffix = f"_{index}" if len(model.layers) > 1 else ""
        path = "model.layers" + suffix.replace("_", ".")
        block = []
        for name, component in layer.parts:
            if component.parameters:
                yield _weights(f"{path}.{name}.parameters", component, sizes)
                block.append(Input(f"{name}{suffix}", component.parameters, f"{path}.{name}.parameters"))
        count = Input(f"layers{suffix}", layer.count, "model.num_layers" if not suffix else None)
        terms.append(f"{count.name} * ({' + '.join(part.name for part in block)})")
        inputs += [count, *block]
    yield Derivation(
        "model.parameters",
        model.parameters,
        "Parameters; tied ones count once.",
        " + ".join(terms),
        tuple(inputs),
    )


def _weights(path: str, component: Component, sizes: dict[str, int]) -> Derivation:
    """The sum of the shapes of a component's weights, in the letters of the dimensions."""
    shapes = [" * ".join(weight.shape).replace("*", " * ").replace("+", " + ") for weight in component.weights]
    formula = " + ".join(" ".join(shape.split()) for shape in shapes)
    letters = dict.fromkeys(re.findall(r"[A-Z]|\d+", formula))
    inputs = tuple(Input(letter, int(letter) if letter.isdigit() else sizes[letter]) for letter in letters)
    named = tuple(each for each in inputs if not each.name.isdigit())
    return Derivation(path, component.parameters, f"Parameters of one {component.kind}.", formula, named)
