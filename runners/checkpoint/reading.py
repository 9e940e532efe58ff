"""A checkpoint on disk: any part of its tensors, put together from the files of all ranks, of which no more is read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runners.checkpoint.geometry import Box, Sizes, boxes
from runners.checkpoint.index import FILE, Index, StoredFile, StoredPiece, StoredTensor
from runners.checkpoint.piece import EMA, MODEL
from runners.errors import RunError
from runners.tensor_files import Entry, Stored, header


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk, its hashes verified."""

    path: Path
    index: Index
    _headers: dict[str, _Header] = field(default_factory=dict, compare=False, repr=False)

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.index.step

    @property
    def tokens(self) -> int:
        """Target tokens trained on."""
        return self.index.tokens

    @property
    def seconds(self) -> float:
        """Time spent in the training loop, over all attempts, for the steps that count."""
        return self.index.seconds

    @property
    def scalars(self) -> Mapping[str, Any]:
        """Plain values beside the tensors, such as the loss scale."""
        return self.index.scalars

    @property
    def sha256(self) -> Mapping[str, str]:
        """Hashes by file."""
        return {name: file.sha256 for name, file in self.index.files.items()}

    @property
    def files(self) -> Mapping[str, StoredFile]:
        """Sizes and hashes by file."""
        return self.index.files

    @cached_property
    def bytes(self) -> int:
        """Size of all its files."""
        return (self.path / FILE).stat().st_size + sum(file.bytes for file in self.index.files.values())

    def names(self, prefix: str = "") -> tuple[str, ...]:
        """The tensors whose names begin so, in the order they were written in."""
        return tuple(name for name in self.index.tensors if name.startswith(prefix))

    def shape(self, name: str) -> Sizes:
        """Shape of a whole tensor; RunError when there is none of this name."""
        return self._found(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Type that a tensor is stored in; RunError when there is none of this name."""
        kind: torch.dtype = getattr(torch, self._found(name).dtype)
        return kind

    def tensor(self, name: str) -> Tensor:
        """A whole tensor, on the CPU."""
        shape = self.shape(name)
        return self.read(name, (0,) * len(shape), shape)

    def read(self, name: str, offset: Sizes, size: Sizes) -> Tensor:
        """A rectangle of a tensor, on the CPU; RunError when an element of it is nowhere."""
        wanted, shape = Box(tuple(offset), tuple(size)), self.shape(name)
        if len(wanted.offset) != len(shape) or any(end > most for end, most in zip(wanted.end, shape, strict=True)):
            raise RunError(f"`{name}` of {self.path} is of shape {shape}; {wanted.offset} + {wanted.size} is outside")
        values = torch.empty(wanted.size, dtype=self.dtype(name))
        self._fill(name, [(wanted, values)], values)
        return values

    def read_flat(self, name: str, start: int, stop: int) -> Tensor:
        """Elements `start` to `stop` of a flattened tensor, on the CPU; RunError when one of them is nowhere."""
        shape = self.shape(name)
        if not 0 <= start <= stop <= prod(shape):
            raise RunError(f"`{name}` of {self.path} has {prod(shape):,} elements; {start}:{stop} is outside")
        values = torch.empty(stop - start, dtype=self.dtype(name))
        self._fill(name, _parts(start, values, shape), values)
        return values

    def weights(self) -> dict[str, Tensor]:
        """The model's weights by name, on the CPU."""
        return {name.removeprefix(f"{MODEL}/"): self.tensor(name) for name in self.names(f"{MODEL}/")}

    def averaged(self) -> Checkpoint:
        """The same with the moving average of the weights in their place; RunError when it holds none."""
        tensors = {name: self.index.tensors[name] for name in self.names(f"{EMA}/")}
        if not tensors:
            raise RunError(f"{self.path} holds no average of the weights: its stage has no `ema`")
        others = {name: tensor for name, tensor in self.index.tensors.items() if name not in tensors}
        taken = {f"{MODEL}/{name.removeprefix(f'{EMA}/')}": tensor for name, tensor in tensors.items()}
        return Checkpoint(self.path, replace(self.index, tensors=others | taken))

    def load_into(self, model: nn.Module) -> None:
        """Give a model these weights, in the types that it has; RunError when they are of another model."""
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise RunError(f"{self.path} is of another model than this plan: {reason}") from None

    def stored(self) -> Stored:
        """The weights as tensors of files, one read at a time, whatever number of files holds them."""
        names = {name.removeprefix(f"{MODEL}/"): name for name in self.names(f"{MODEL}/")}
        entries = {plain: Entry(self.path, self.shape(name), self.dtype(name)) for plain, name in names.items()}
        return _Weights(entries, self)

    def _found(self, name: str) -> StoredTensor:
        tensor = self.index.tensors.get(name)
        if tensor is None:
            raise RunError(f"{self.path} holds no tensor `{name}`")
        return tensor

    def _fill(self, name: str, wanted: list[tuple[Box, Tensor]], values: Tensor) -> None:
        """Copy what is stored into the tensors of `wanted`, which are views of all of `values`."""
        tensor = self._found(name)
        if any(self._copy(piece, tensor, wanted) == values.numel() for piece in tensor.pieces):
            return  # one piece had it all
        covered = torch.zeros(values.shape, dtype=torch.bool)
        marks = _like(wanted, covered)
        for piece in tensor.pieces:
            for source in _places(piece, tensor.shape):
                for (box, mark), both in _overlaps(source, marks):
                    mark[both.within(box)] = True
        if not bool(covered.all()):
            box, mark = next((box, mark) for box, mark in marks if not bool(mark.all()))
            at = [first + int(index) for first, index in zip(box.offset, (~mark).nonzero()[0], strict=True)]
            raise RunError(f"element {at} of `{name}` is in no file of {self.path}")

    def _copy(self, piece: StoredPiece, tensor: StoredTensor, wanted: list[tuple[Box, Tensor]]) -> int:
        """Copy what a piece has of what is wanted; the number of elements."""
        done = 0
        mapped: Tensor | None = None
        for source in _places(piece, tensor.shape):
            for (box, target), both in _overlaps(source, wanted):
                mapped = self._map(piece, tensor) if mapped is None else mapped
                target[both.within(box)] = _view(mapped, piece, source, tensor.shape)[both.within(source)]
                done += both.count
        return done

    def _map(self, piece: StoredPiece, tensor: StoredTensor) -> Tensor:
        """The flattened values of a piece, mapped: what is not touched is not read."""
        if piece.file not in self._headers:
            self._headers[piece.file] = _Header(*header(self.path / piece.file))
        found = self._headers[piece.file]
        kind = getattr(torch, tensor.dtype)
        start, end = found.tensors[piece.key]["data_offsets"]
        if end - start != piece.count * kind.itemsize:
            raise RunError(f"`{piece.key}` in {self.path / piece.file} is not of the size that {FILE} says")
        with (self.path / piece.file).open("rb") as file:
            # A private copy, because torch warns of memory that cannot be written; nothing writes.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return torch.frombuffer(mapped, dtype=kind, count=piece.count, offset=found.start + start)


@dataclass(frozen=True)
class _Header:
    tensors: Mapping[str, Any]
    start: int
    """Where the values begin in the file."""


@dataclass(frozen=True)
class _Weights(Stored):
    checkpoint: Checkpoint

    def read(self, name: str) -> Tensor:
        return self.checkpoint.tensor(f"{MODEL}/{name}")


def _parts(start: int, values: Tensor, shape: Sizes) -> list[tuple[Box, Tensor]]:
    """The rectangles that a flat range is made of, each with its view of `values`."""
    parts, at = [], 0
    for box in boxes(start, start + values.numel(), shape):
        parts.append((box, values[at : at + box.count].view(box.size)))
        at += box.count
    return parts


def _like(wanted: list[tuple[Box, Tensor]], values: Tensor) -> list[tuple[Box, Tensor]]:
    """The same places as views of another tensor."""
    flat, at, found = values.view(-1), 0, []
    for box, _ in wanted:
        found.append((box, flat[at : at + box.count].view(box.size)))
        at += box.count
    return found


def _places(piece: StoredPiece, shape: Sizes) -> Iterator[Box]:
    """The rectangles that a piece holds, in order."""
    if isinstance(piece.offset, int) or isinstance(piece.size, int):
        assert isinstance(piece.offset, int)
        assert isinstance(piece.size, int)
        yield from boxes(piece.offset, piece.offset + piece.size, shape)
    else:
        yield Box(piece.offset, piece.size)


def _overlaps(source: Box, wanted: list[tuple[Box, Tensor]]) -> Iterator[tuple[tuple[Box, Tensor], Box]]:
    """Each of what is wanted that a rectangle has a part of, with that part."""
    for box, target in wanted:
        both = source.meets(box)
        if both is not None:
            yield (box, target), both


def _view(mapped: Tensor, piece: StoredPiece, source: Box, shape: Sizes) -> Tensor:
    """The values of one rectangle of a piece."""
    if not isinstance(piece.offset, int):
        return mapped.view(source.size)
    at = _flat(source.offset, shape) - piece.offset
    return mapped[at : at + source.count].view(source.size)


def _flat(index: Sizes, shape: Sizes) -> int:
    """Place of an element in the flattened tensor."""
    at = 0
    for first, length in zip(index, shape, strict=True):
        at = at * length + first
    return at
