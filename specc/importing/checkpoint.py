"""A folder that transformers wrote: its config as a `model:` section, and the files that come with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specc import huggingface
from specc.diagnostics import Diagnostic, Label, Span
from specc.huggingface import Reading, Unspoken
from specc.importing.tokenizer import Encoding, read_encoding
from specc.source import Source, SpecErrors
from specc.source.reader import parse

CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
)
"""What makes a tokenizer, by the names that transformers gives its files."""
_WEIGHTS = ("*.safetensors", "model.safetensors.index.json", "pytorch_model*.bin", "*.pt", "*.pth")


@dataclass(frozen=True)
class Checkpoint:
    """What a folder says, read without a tensor."""

    folder: Path
    reading: Reading
    encoding: Encoding
    has_weights: bool
    tokenizer_files: tuple[Path, ...]

    @property
    def kept_files(self) -> tuple[Path, ...]:
        """Files that go along for an export, beside the tokenizer's."""
        return tuple(self.folder / name for name in (CONFIG, GENERATION) if (self.folder / name).is_file())


def read_checkpoint(folder: Path, model_type: str | None) -> Checkpoint:
    """Read the config and the tokenizer of a folder; `model_type` stands in where the config has none.

    SpecErrors, at its place in the file, for what cannot be read or cannot be said.
    """
    config, text = _read_config(folder / CONFIG)
    try:
        reading = huggingface.read(config, model_type)
    except Unspoken as unspoken:
        shown = (folder / CONFIG).as_posix()
        raise SpecErrors((_located(unspoken, text, shown),), {shown: text}) from None
    files = tuple(folder / name for name in TOKENIZER_FILES if (folder / name).is_file())
    has_weights = any(any(folder.glob(pattern)) for pattern in _WEIGHTS)
    return Checkpoint(folder, reading, _encoding(folder, config), has_weights, files)


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    """What a config says, and its text."""
    text = _text(path)
    return _mapping(text, path), text


def _encoding(folder: Path, config: dict[str, Any]) -> Encoding:
    names = (TOKENIZER, "tokenizer_config.json")
    texts = {name: _text(folder / name) for name in names if (folder / name).is_file()}
    parsed = {name: _mapping(text, folder / name) for name, text in texts.items()}
    return read_encoding(config, parsed.get(TOKENIZER), texts.get(TOKENIZER), parsed.get("tokenizer_config.json", {}))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        problem = "there is no such file: a folder that transformers wrote has one"
    except UnicodeDecodeError as error:
        problem = f"byte {error.start:,} of this file is not UTF-8"
    except OSError as error:
        problem = f"this file cannot be read: {(error.strerror or 'unknown reason').lower()}"
    raise SpecErrors((_at(path, problem, 1, 1),), {path.as_posix(): ""})


def _mapping(text: str, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        problem = f"this is not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise SpecErrors((_at(path, problem, error.lineno, error.colno),), {path.as_posix(): text}) from None
    except (RecursionError, ValueError) as error:
        raise SpecErrors((_at(path, f"this is not JSON: {error}", 1, 1),), {path.as_posix(): text}) from None
    if not isinstance(content, dict):
        raise SpecErrors((_at(path, "this file is no mapping of keys to values", 1, 1),), {path.as_posix(): text})
    return content


def _no_number(word: str) -> float:
    raise ValueError(f"`{word}` is no number")


def _at(path: Path, problem: str, line: int, column: int) -> Diagnostic:
    label = Label(Span(path.as_posix(), line, column, line, column + 1), primary=True)
    return Diagnostic("SPC912", "error", problem, (label,))


def _located(unspoken: Unspoken, text: str, shown: str) -> Diagnostic:
    """The place of a key in the config. JSON is YAML but for tabs: where those stand, the file alone is named."""
    finding = unspoken.finding()
    try:
        return Source(shown, parse(text, shown), {shown: text}).locate(finding)
    except SpecErrors:
        label = Label(Span(shown, 1, 1, 1, 2), primary=True)
        return Diagnostic(finding.code, "error", finding.headline, (label,), finding.notes, finding.help)
