"""Files of named tensors (safetensors), read one tensor at a time and written as a stream: no model need fit in memory.

A file is the length of its header (8 bytes, little endian), the header as JSON, and the tensors' bytes one after the
other (huggingface/safetensors, README, section "Format").
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from runners.errors import RunError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_ALIGNED = 8
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_WORDS = {kind: word for word, kind in _TYPES.items()}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of its values."""
        return self.blank().nbytes

    def blank(self) -> Tensor:
        """A tensor of its shape and type without memory, to try an operation on."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


@dataclass(frozen=True)
class Stored:
    """The tensors of one or several files, by name."""

    entries: Mapping[str, Entry]

    def read(self, name: str) -> Tensor:
        """One tensor, on the CPU, in the type that it is stored in."""
        with safe_open(self.entries[name].file, framework="pt", device="cpu") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor


def header(path: Path) -> tuple[dict[str, Any], int]:
    """What a file says of its tensors, and where their bytes begin; RunError when it is none, or was cut off."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= path.stat().st_size else b""
    try:
        tensors: dict[str, Any] = json.loads(text)
        tensors.pop("__metadata__", None)
    except (ValueError, AttributeError):
        raise RunError(f"{path} is no safetensors file, or was cut off") from None
    return tensors, 8 + length


def open_file(path: Path) -> Stored:
    """The tensors of one file; RunError when it is none, or was cut off."""
    tensors, start = header(path)
    end = start + max((what["data_offsets"][1] for what in tensors.values()), default=0)
    size = path.stat().st_size
    if size != end:
        raise RunError(f"{path} is of {size:,} bytes, and its header speaks of {end:,}: it was not copied whole")
    return Stored({name: _entry(path, name, what) for name, what in tensors.items()})


def open_folder(folder: Path) -> Stored:
    """The tensors of a checkpoint of transformers: one file, or those that an index names.

    RunError when there are none, or when a file that the index names is missing.
    """
    index = folder / INDEX
    if index.is_file():
        return _indexed(folder, index)
    if (folder / SINGLE).is_file():
        return open_file(folder / SINGLE)
    pickled = sorted((*folder.glob("pytorch_model*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
    if pickled:
        raise RunError(
            f"{pickled[0]} is a pickle, which can run any code when it is read; write it as safetensors first: "
            "`AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR)`, where you trust it"
        )
    raise RunError(f"{folder} holds neither {SINGLE} nor {INDEX}")


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights of any form, also of one that is refused."""
    return any(any(folder.glob(pattern)) for pattern in (SINGLE, INDEX, "pytorch_model*.bin", "*.pt", "*.pth"))


def write(path: Path, entries: Mapping[str, Entry], tensor: Callable[[str], Tensor]) -> str:
    """Write one file, asking for each tensor when its turn comes; its SHA-256.

    The file is on the disk when this returns. RunError when a tensor is not what its entry says.
    """
    digest = sha256()
    with path.open("wb") as file:
        head = _head(entries)
        digest.update(head)
        file.write(head)
        for name, entry in entries.items():
            found = tensor(name)
            if tuple(found.shape) != entry.shape or found.dtype != entry.dtype:
                raise RunError(f"{name} is {tuple(found.shape)} {found.dtype}, and was announced as {entry.shape}")
            values = found.contiguous().reshape(-1).view(torch.uint8).numpy().data
            digest.update(values)
            file.write(values)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def shards(entries: Mapping[str, Entry], largest: int) -> Iterable[dict[str, Entry]]:
    """The tensors in their order, cut into files of at most `largest` bytes; a larger tensor has a file of its own."""
    current: dict[str, Entry] = {}
    size = 0
    for name, entry in entries.items():
        if current and size + entry.bytes > largest:
            yield current
            current, size = {}, 0
        current[name] = entry
        size += entry.bytes
    yield current


def read_json(path: Path) -> dict[str, Any]:
    """A mapping in a JSON file; RunError when it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is not a mapping")
    return content


def _indexed(folder: Path, index: Path) -> Stored:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict):
        raise RunError(f"{index} has no `weight_map`")
    missing = sorted({str(file) for file in names.values() if not (folder / str(file)).is_file()})
    if missing:
        raise RunError(f"{index} names files that are not there: {', '.join(missing[:3])}")
    files = {file: open_file(folder / file) for file in sorted({str(file) for file in names.values()})}
    lost = [name for name, file in names.items() if name not in files[file].entries]
    if lost:
        raise RunError(f"{names[lost[0]]} does not hold `{lost[0]}`, which {index} says it does")
    return Stored({name: files[file].entries[name] for name, file in names.items()})


def _entry(path: Path, name: str, what: Mapping[str, Any]) -> Entry:
    kind = _TYPES.get(what["dtype"])
    if kind is None:
        raise RunError(f"{path}: `{name}` is of type {what['dtype']}, and this version reads {', '.join(_TYPES)}")
    return Entry(path, tuple(what["shape"]), kind)


def _head(entries: Mapping[str, Entry]) -> bytes:
    """The length and the header; blanks make the values begin at a multiple of eight bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, entry in entries.items():
        header[name] = {
            "dtype": _WORDS[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [at, at + entry.bytes],
        }
        at += entry.bytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNED)
    return len(text).to_bytes(8, "little") + text
