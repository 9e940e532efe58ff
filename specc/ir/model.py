"""The model: components in the order of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from specc.ir.component import Component, Dimension, Regulation, Weight


@dataclass(frozen=True)
class Layer:
    """`count` equal blocks. `parts` are (attribute of the block, component) in the order of use."""

    count: int
    parts: tuple[tuple[str, Component], ...]
    uses: int = 1
    """Layers that each of the blocks is: more than 1 where they share weights."""

    @property
    def applied(self) -> int:
        """How often one of the blocks is gone through."""
        return self.count * self.uses

    def part(self, name: str) -> Component:
        """The component under `name`; KeyError when there is none."""
        return dict(self.parts)[name]

    @property
    def parameters(self) -> int:
        """Parameters of one block."""
        return sum(component.parameters for _, component in self.parts)


_HEADS = ("lm_head", "classifier", "pooled", "hidden")
"""Attributes that give what a model returns."""


@dataclass(frozen=True)
class Stack:
    """Blocks with what comes before and after them: the encoder of an encoder-decoder."""

    inputs: tuple[tuple[str, Component], ...]
    layers: tuple[Layer, ...]
    outputs: tuple[tuple[str, Component], ...]

    @property
    def position(self) -> Component:
        """How the stack knows the order of tokens."""
        return dict(self.inputs)["position_embedding"]

    def placed(self, prefix: str = "") -> Iterator[tuple[str, Component]]:
        """Every component with its canonical prefix, blocks unrolled, in the order of `named_parameters()`."""
        yield from ((f"{prefix}{name}.", component) for name, component in self.inputs)
        blocks = (layer for layer in self.layers for _ in range(layer.count))
        for index, layer in enumerate(blocks):
            yield from ((f"{prefix}layers.{index}.{name}.", component) for name, component in layer.parts)
        yield from ((f"{prefix}{name}.", component) for name, component in self.outputs)

    def counted(self, prefix: str = "") -> Iterator[tuple[int, str, Component]]:
        """Every component once for all equal blocks: how many there are, and its prefix in the first of them."""
        index = 0
        yield from ((1, f"{prefix}{name}.", component) for name, component in self.inputs)
        for layer in self.layers:
            yield from ((layer.count, f"{prefix}layers.{index}.{name}.", component) for name, component in layer.parts)
            index += layer.count
        yield from ((1, f"{prefix}{name}.", component) for name, component in self.outputs)


@dataclass(frozen=True)
class Model:
    """A lowered architecture. Shapes are in the letters of `dimensions`."""

    family: str
    dimensions: tuple[Dimension, ...]
    inputs: tuple[tuple[str, Component], ...]
    """What comes before the blocks, (attribute of the model, component) in the order of use."""
    layers: tuple[Layer, ...]
    outputs: tuple[tuple[str, Component], ...]
    """What comes after them."""
    context_length: int
    vocab_size: int
    """Rows of the embedding, padding included."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the template's own holes are filled with: the name of the block, multipliers, dropout."""
    encoder: Stack | None = None
    """What an encoder-decoder reads with; the rest of the model writes."""

    @property
    def embedding(self) -> Component:
        """The token table."""
        return dict(self.inputs)["embedding"]

    @property
    def position(self) -> Component:
        """How the model knows the order of tokens; without weights where it needs no table."""
        return dict(self.inputs)["position_embedding"]

    @property
    def head(self) -> Component:
        """What makes logits, or whatever else comes out; without weights where it shares the token table."""
        outputs = dict(self.outputs)
        return next(outputs[name] for name in _HEADS if name in outputs)

    @property
    def is_tied(self) -> bool:
        """Whether the head shares the token table."""
        return bool(self.head.values.get("tied"))

    @property
    def blocks(self) -> tuple[Layer, ...]:
        """All of them: the encoder's, then those of the other stack."""
        return (*(self.encoder.layers if self.encoder is not None else ()), *self.layers)

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return next(d.size for d in self.dimensions if d.letter == "D")

    @property
    def num_layers(self) -> int:
        """How many blocks a token goes through, of both stacks where there are two; those used again count again."""
        return sum(layer.applied for layer in self.blocks)

    @property
    def window(self) -> int | None:
        """Positions that a query of a layer with a window sees; None where no layer has one."""
        return next((each.size for each in self.dimensions if each.letter == "W"), None)

    @property
    def shares_blocks(self) -> bool:
        """Whether blocks are used more than once."""
        return any(layer.uses > 1 for layer in self.blocks)

    @property
    def has_adapters(self) -> bool:
        """Whether something follows the parts of a block."""
        return any(name.endswith("_adapter") for layer in self.blocks for name, _ in layer.parts)

    def placed(self) -> Iterator[tuple[str, Component]]:
        """Every component with its canonical prefix, blocks unrolled, in the order of `named_parameters()`."""
        first, rest = self._halves()
        yield from first.placed()
        if self.encoder is not None:
            yield from self.encoder.placed("encoder.")
        yield from rest.placed()

    def weights(self) -> Iterator[Weight]:
        """Every parameter under its canonical name."""
        for prefix, component in self.placed():
            for weight in component.weights:
                yield replace(weight, name=prefix + weight.name)

    def counted(self) -> Iterator[tuple[int, str, Component]]:
        """Every component once for all equal blocks: how many there are, and its prefix in the first of them."""
        first, rest = self._halves()
        yield from first.counted()
        if self.encoder is not None:
            yield from self.encoder.counted("encoder.")
        yield from rest.counted()

    def applied(self) -> Iterator[tuple[int, Component]]:
        """Every component once for all equal blocks, and how often a token goes through it."""
        own = Stack(self.inputs, self.layers, self.outputs)
        for stack in (own,) if self.encoder is None else (self.encoder, own):
            yield from ((1, component) for _, component in (*stack.inputs, *stack.outputs))
            yield from ((layer.applied, component) for layer in stack.layers for _, component in layer.parts)

    def _halves(self) -> tuple[Stack, Stack]:
        """What both stacks read, the token table, and the rest."""
        return Stack(self.inputs[:1], (), ()), Stack(self.inputs[1:], self.layers, self.outputs)

    @property
    def parameters(self) -> int:
        """Total number of parameters; tied ones count once."""
        return sum(count * component.parameters for count, _, component in self.counted())

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses: all of them where every kind is dense."""
        return self.parameters - sum(count * part.inactive_parameters for count, _, part in self.counted())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token and position tables, the output head not counted."""
        return self.embedding.parameters + self.position.parameters

    def forward_flops_per_token(self, context_length: int) -> int:
        """FLOPs of one forward pass per token when every query sees `context_length` keys.

        The causal mask is not counted as a saving (Chowdhery et al. 2022, PaLM, appendix B). In an encoder-decoder as
        many tokens are read as written: those of both stacks are counted per token that is written.
        """
        return sum(count * (part.matmul_flops + part.score_flops * context_length) for count, part in self.applied())

    @property
    def kv_cache_values_per_token(self) -> int:
        """Values that decoding keeps per token, all layers; in an encoder-decoder per token read and written."""
        return sum(count * part.kv_cache_values for count, part in self.applied())

    @property
    def regulation(self) -> Regulation:
        """What training does with the blocks beside applying gradients; kinds of one model agree on the coefficient."""
        found = [part.regulation for _, _, part in self.counted()]
        losses = [each.auxiliary_loss for each in found if each.auxiliary_loss is not None]
        return Regulation(losses[0] if losses else None, any(each.after_step for each in found))

    @property
    def has_dropout(self) -> bool:
        """Whether training sets some values to zero at random."""
        drawn = (self.values.get("embedding_dropout"), self.values.get("residual_dropout"))
        return any(drawn) or any(part.values.get("dropout") for _, _, part in self.counted())

    @property
    def has_own_rates(self) -> bool:
        """Whether some weights learn at another rate than the optimizer's."""
        return any(weight.init.rate != 1.0 for _, _, part in self.counted() for weight in part.weights)

    @property
    def whole_kv_cache_values_per_token(self) -> int:
        """Of those, what every tensor-parallel rank keeps whole."""
        return sum(count * part.kv_cache_values for count, part in self.applied() if not part.kv_cache_split)


def check_model(model: Model) -> None:
    """Assert what every pass must keep true: unique names, positive sizes, one letter for one size."""
    weights = [(prefix, weight) for _, prefix, component in model.counted() for weight in component.weights]
    names = [prefix + weight.name for prefix, weight in weights]
    assert len(names) == len(set(names)), "two weights share a name"
    sizes: dict[str, int] = {}
    for dimension in model.dimensions:
        assert sizes.setdefault(dimension.letter, dimension.size) == dimension.size, f"two sizes for {dimension.letter}"
    for prefix, weight in weights:
        for text, size in zip(weight.shape, weight.sizes, strict=True):
            product = 1
            for factor in text.split("*"):
                terms = factor.strip("()").split("+")
                product *= sum(int(term) if term.isdigit() else sizes[term] for term in terms)
            assert product == size > 0, f"{prefix}{weight.name}: {text} is {product}, not {size}"
