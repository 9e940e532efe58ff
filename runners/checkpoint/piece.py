"""What is written of a tensor: a rectangle of it, or a range of the flattened tensor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from torch import Tensor

from runners.checkpoint.geometry import Sizes

MODEL = "model"
"""First part of the names of weights: `model/layers.0.norm.weight`."""
OPTIMIZER = "optimizer"
"""First part of the names of optimizer states: `optimizer/layers.0.norm.weight/exp_avg`."""

EMA = "ema"
"""First part of the names of averaged weights: `ema/layers.0.norm.weight`."""


@dataclass(frozen=True)
class Piece:
    """A part of a named tensor that this rank writes; all ranks together write each element exactly once."""

    name: str
    """Such as `model/layers.0.norm.weight`. The part before the first `/` decides the file."""
    shape: Sizes
    """Of the whole tensor."""
    offset: Sizes | int
    """First index on each axis, `tensor` being a rectangle; an int: where a range of the flattened tensor begins."""
    tensor: Tensor

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the tensor, as a rectangle."""
        return not isinstance(self.offset, int) and tuple(self.tensor.shape) == self.shape

    @property
    def size(self) -> Sizes | int:
        """Lengths of a rectangle, or of a range."""
        return self.tensor.numel() if isinstance(self.offset, int) else tuple(self.tensor.shape)

    @property
    def group(self) -> str:
        """What it is kept with: `model`, `optimizer`, or whatever the name begins with."""
        return self.name.partition("/")[0]

    def key(self) -> str:
        """Its name in a file: the plain name of a whole weight, and of a part with its place, as in `a[0:4, 8:16]`."""
        plain = self.name.partition("/")[2] or self.name
        if self.is_whole:
            return plain
        if isinstance(self.offset, int):
            return f"{plain}[flat {self.offset}:{self.offset + self.tensor.numel()}]"
        ends = (first + size for first, size in zip(self.offset, self.tensor.shape, strict=True))
        return f"{plain}[{', '.join(f'{first}:{end}' for first, end in zip(self.offset, ends, strict=True))}]"

    def fits(self) -> bool:
        """Whether it lies inside its tensor."""
        if isinstance(self.offset, int):
            return self.offset >= 0 and self.offset + self.tensor.numel() <= prod(self.shape)
        axes = zip(self.offset, self.tensor.shape, self.shape, strict=False)
        same = len(self.offset) == self.tensor.dim() == len(self.shape)
        return same and all(first >= 0 and first + size <= length for first, size, length in axes)


def whole_piece(name: str, tensor: Tensor) -> Piece:
    """All of a tensor, where one rank has it."""
    return Piece(name, tuple(tensor.shape), (0,) * tensor.dim(), tensor)
