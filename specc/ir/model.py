"""The model: components in the order of use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from specc.ir.component import Component, Dimension, Weight


@dataclass(frozen=True)
class Layer:
    """`count` equal blocks. `parts` are (attribute of the block, component) in the order of use."""

    count: int
    parts: tuple[tuple[str, Component], ...]

    def part(self, name: str) -> Component:
        """The component under `name`; KeyError when there is none."""
        return dict(self.parts)[name]

    @property
    def parameters(self) -> int:
        """Parameters of one block."""
        return sum(component.parameters for _, component in self.parts)


@dataclass(frozen=True)
class Model:
    """A lowered architecture. Shapes are in the letters of `dimensions`."""

    family: str
    dimensions: tuple[Dimension, ...]
    embedding: Component
    position: Component
    layers: tuple[Layer, ...]
    norm: Component
    head: Component
    context_length: int
    vocab_size: int
    """Rows of the embedding, padding included."""

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return next(d.size for d in self.dimensions if d.letter == "D")

    @property
    def num_layers(self) -> int:
        """Number of blocks."""
        return sum(layer.count for layer in self.layers)

    def placed(self) -> Iterator[tuple[str, Component]]:
        """Every component with its canonical prefix, blocks unrolled, in the order of `named_parameters()`."""
        yield "embedding.", self.embedding
        yield "position_embedding.", self.position
        index = 0
        for layer in self.layers:
            for _ in range(layer.count):
                for name, component in layer.parts:
                    yield f"layers.{index}.{name}.", component
                index += 1
        yield "norm.", self.norm
        yield "lm_head.", self.head

    def weights(self) -> Iterator[Weight]:
        """Every parameter under its canonical name."""
        for prefix, component in self.placed():
            for weight in component.weights:
                yield replace(weight, name=prefix + weight.name)

    @property
    def parameters(self) -> int:
        """Total number of parameters; tied ones count once."""
        outside = (self.embedding, self.position, self.norm, self.head)
        inside = sum(layer.count * layer.parameters for layer in self.layers)
        return sum(component.parameters for component in outside) + inside

    @property
    def active_parameters(self) -> int:
        """Parameters that one token uses: all of them where every kind is dense."""
        return self.parameters - sum(part.inactive_parameters for _, part in self.placed())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token and position tables, the output head not counted."""
        return self.embedding.parameters + self.position.parameters

    def forward_flops_per_token(self, context_length: int) -> int:
        """FLOPs of one forward pass per token when every query sees `context_length` keys.

        The causal mask is not counted as a saving (Chowdhery et al. 2022, PaLM, appendix B).
        """
        return sum(part.matmul_flops + part.score_flops * context_length for _, part in self.placed())

    @property
    def kv_cache_values_per_token(self) -> int:
        """Values that decoding keeps per token, all layers."""
        return sum(part.kv_cache_values for _, part in self.placed())


def check_model(model: Model) -> None:
    """Assert what every pass must keep true: unique names, positive sizes, one letter for one size."""
    names = [weight.name for weight in model.weights()]
    assert len(names) == len(set(names)), "two weights share a name"
    sizes: dict[str, int] = {}
    for dimension in model.dimensions:
        assert sizes.setdefault(dimension.letter, dimension.size) == dimension.size, f"two sizes for {dimension.letter}"
    for weight in model.weights():
        for text, size in zip(weight.shape, weight.sizes, strict=True):
            product = 1
            for letter in text.split("*"):
                product *= sizes[letter]
            assert product == size > 0, f"{weight.name}: {text} is {product}, not {size}"
