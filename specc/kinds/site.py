"""Where a kind is lowered: what it may know of the model around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from specc.ir.component import Dimension, Initialisation

HeadDim = Annotated[int, Field(ge=1, le=2**16)] | Literal["auto"]
"""Values per head, or left to follow from width and heads."""
PositionCount = Annotated[int, Field(ge=1, le=2**30)] | Literal["auto"]
"""Positions, or as many as the context has."""
RowCount = Annotated[int, Field(ge=1, le=2**30)] | Literal["auto"]
"""Rows of a table, or as many as it needs."""


@dataclass(frozen=True)
class Heads:
    """The sizes of the attention that a position kind works with."""

    num_heads: int
    head_dim: int
    written: str
    """Key below `attention` that the size of a head comes from."""


@dataclass(frozen=True)
class Frame:
    """The sizes that a kind may check itself against, before anything is lowered."""

    hidden_size: int
    num_layers: int
    context_length: int
    position: str
    """The position kind."""
    adds_bias: bool
    """Whether that adds a bias to the attention scores."""


@dataclass(frozen=True)
class InitScheme:
    """What an `init` kind says for the three sorts of matrices."""

    embedding: Initialisation
    matrix: Initialisation
    residual: Initialisation
    """Matrices that write into the residual stream."""


@dataclass(frozen=True)
class Site:
    """The model around a component. Sizes are single-device sizes."""

    hidden_size: int
    num_layers: int
    context_length: int
    vocab_size: int
    init: InitScheme
    heads: Heads
    adds_bias: bool
    """Whether the position kind adds a bias to the attention scores."""

    @property
    def width(self) -> Dimension:
        """The dimension that every component shares."""
        return Dimension("D", self.hidden_size, "model width")
