"""`checkpoint.json`: what a checkpoint holds and where, under a hash of itself in its first line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

from runners.checkpoint.geometry import Sizes

FILE = "checkpoint.json"
FORMAT = 2
"""Of what follows; 1 was a pickle beside one file of weights."""


class Unreadable(Exception):
    """Why an index is not what was written."""


class Outdated(Exception):
    """An index of another format."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a checkpoint."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class StoredPiece:
    """Where a part of a tensor lies."""

    file: str
    key: str
    """The part's name in the file."""
    offset: Sizes | int
    """First index on each axis; an int for a range of the flattened tensor."""
    size: Sizes | int

    @property
    def count(self) -> int:
        """Its number of elements."""
        return self.size if isinstance(self.size, int) else prod(self.size)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor and the parts that it is kept in."""

    dtype: str
    """In torch's words: `float32`."""
    shape: Sizes
    pieces: tuple[StoredPiece, ...]


@dataclass(frozen=True)
class Index:
    """All that a checkpoint says of itself."""

    step: int
    tokens: int
    seconds: float
    scalars: Mapping[str, Any]
    files: Mapping[str, StoredFile]
    tensors: Mapping[str, StoredTensor]

    def to_bytes(self) -> bytes:
        """One line a file and a tensor; the first line is the SHA-256 of those behind it. ValueError for NaN."""
        files = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in self.files.items()}
        parts = {
            "format": FORMAT,
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "scalars": dict(self.scalars),
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in parts.items()]
        lines.append(f'"files": {_block(files)}')
        lines.append(f'"tensors": {_block({name: _said(tensor) for name, tensor in self.tensors.items()})}')
        rest = (",\n".join(lines) + "\n}\n").encode("utf-8")
        return _head(rest) + rest

    @staticmethod
    def from_bytes(content: bytes) -> Index:
        """What `to_bytes` wrote; Unreadable when a bit of it is another, Outdated for another format."""
        first, _, rest = content.partition(b"\n")
        if first + b"\n" != _head(rest):
            if _is_outdated(content):
                raise Outdated
            raise Unreadable(f"{FILE} is not as it was written")
        try:
            return _read(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Unreadable(f"{FILE} is not of format {FORMAT}") from None


def place(value: Sequence[int] | int) -> Sizes | int:
    """An offset or a size as JSON has it: of a rectangle, or of a range."""
    return value if isinstance(value, int) else tuple(value)


def _head(rest: bytes) -> bytes:
    return b'{"sha256": "' + sha256(rest).hexdigest().encode("ascii") + b'",\n'


def _block(entries: Mapping[str, Any]) -> str:
    """A mapping with a line for each entry."""
    lines = (f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}" if entries else "{}"


def _said(tensor: StoredTensor) -> dict[str, Any]:
    pieces = [[piece.file, piece.key, piece.offset, piece.size] for piece in tensor.pieces]
    return {"dtype": tensor.dtype, "shape": tensor.shape, "pieces": pieces}


def _is_outdated(content: bytes) -> bool:
    """Whether it is an index of format 1, which held the hashes of its files under `sha256`."""
    try:
        index = json.loads(content)
    except ValueError:
        return False
    return isinstance(index, dict) and isinstance(index.get("sha256"), dict)


def _read(index: dict[str, Any]) -> Index:
    if index["format"] != FORMAT:
        raise Outdated
    files = {name: StoredFile(file["bytes"], file["sha256"]) for name, file in index["files"].items()}
    tensors = {name: _tensor(entry, files) for name, entry in index["tensors"].items()}
    return Index(index["step"], index["tokens"], index["seconds"], index["scalars"], files, tensors)


def _tensor(entry: Mapping[str, Any], files: Mapping[str, StoredFile]) -> StoredTensor:
    pieces = [StoredPiece(file, key, place(offset), place(size)) for file, key, offset, size in entry["pieces"]]
    if any(piece.file not in files for piece in pieces):
        raise ValueError
    return StoredTensor(entry["dtype"], tuple(entry["shape"]), tuple(pieces))
