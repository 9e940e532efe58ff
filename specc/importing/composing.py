"""The text of the spec that an import writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from specc.canonical import format_text
from specc.importing.checkpoint import Checkpoint
from specc.importing.tokenizer import Encoding
from specc.starting import SCHEMA

STAGE = "base"
"""The stage that the weights are of, and the folder that they lie in."""
FOLDER = "tokenizer"
_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_GOING_ON = """
# To train it further, give it data and a stage that starts from it (docs/hugging_face.md):
#
#   data:
#     text: {{sources: {{files: {{path: "text/*.txt"}}}}, holdout: 1%}}
#   stages:
#     pretrain:
#       kind: pretrain
#       from: {stage}
#       data: text
{objective}#       duration: 1000 steps
#       global_batch_size: 8 sequences
#       optimizer: {{kind: adamw, learning_rate: 1.0e-5}}
#       schedule: {{kind: cosine, warmup: 100 steps}}
"""
_NOT_TRAINED = """
# No stage trains {what} in this version. What was imported can be exported again (docs/hugging_face.md).
"""
_FROM_NOTHING = """
data:
  text:
    sources: {{files: {{path: "text/*.txt"}}}}  # the texts to train on
    holdout: 1%

stages:
  pretrain:
    kind: pretrain
    data: text
{objective}    duration: 1000 steps
    global_batch_size: {sequences} sequences
    optimizer: {{kind: adamw, learning_rate: 3.0e-4}}
    schedule: {{kind: cosine, warmup: 100 steps}}
"""


@dataclass(frozen=True)
class Weights:
    """What was written of the weights."""

    sha256: str
    tensors: int
    bytes: int
    types: tuple[str, ...]
    unread: tuple[str, ...] = ()
    """What a user is told of weights that the files hold and nobody reads."""

    @property
    def text(self) -> str:
        """Such as `291 tensors, 16.1 GB in bfloat16`."""
        size = f"{self.bytes / 1e9:,.1f} GB" if self.bytes >= 1e8 else f"{self.bytes / 1e6:,.1f} MB"
        return f"{self.tensors:,} tensor{'s' if self.tensors != 1 else ''}, {size} in {' and '.join(self.types)}"


def compose(
    checkpoint: Checkpoint, name: str, weights: Weights | None, cluster: Mapping[str, Any] | None = None
) -> str:
    """The spec of a checkpoint: with its weights as a stage, or with a stage that trains from nothing."""
    reading = checkpoint.reading
    what = "and its weights" if weights is not None else "without its weights"
    lines = [
        f"# yaml-language-server: $schema={SCHEMA}",
        f"# The architecture of a `{reading.architecture}` {what}, as `specc import` read them.",
        "specc: 1",
        f"name: {_scalar(name)}",
        "seed: 1234",
        "",
        *_tokenizer(checkpoint),
        "",
        *_block("model", reading.model),
    ]
    text = "\n".join(lines) + "\n"
    objective = _objective(reading.model)
    line = f"objective: {{kind: {objective}}}\n" if objective else ""
    if weights is None:
        below = f"    {line}" if line else ""
        text += _FROM_NOTHING.format(sequences=_sequences(cluster), objective=below)
    else:
        text += "\n" + "\n".join(_stage(weights, reading.family)) + "\n"
        text += _going_on(reading.model, f"#       {line}" if line else "")
    if cluster is not None:
        text += "\n" + "\n".join(_block("cluster", cluster)) + "\n"
    return format_text(text, "spec.yaml")


def _objective(model: Mapping[str, Any]) -> str | None:
    """What a stage must say that it trains on; None for a decoder, which need not say it."""
    return {"encoder": "masked", "encoder_decoder": "span_corruption"}.get(model["kind"])


def _going_on(model: Mapping[str, Any], objective: str) -> str:
    """How a spec with weights goes on, as a comment."""
    head = (model.get("head") or {}).get("kind", "masked_lm")
    if model["kind"] == "encoder" and head != "masked_lm":
        return _NOT_TRAINED.format(what="an encoder without a head" if head == "none" else f"the head `{head}`")
    return _GOING_ON.format(stage=STAGE, objective=objective)


def _sequences(cluster: Mapping[str, Any] | None) -> int:
    """A batch that every device has a part of."""
    return 8 if cluster is None else int(cluster["nodes"] * cluster["devices_per_node"])


def _tokenizer(checkpoint: Checkpoint) -> Iterator[str]:
    encoding = checkpoint.encoding
    yield "tokenizer:"
    yield "  kind: pretrained"
    missing = "" if encoding.sha256 is not None else "  # there was no tokenizer.json: put one here"
    yield f"  path: {FOLDER}{missing}"
    yield f"  vocab_size: {encoding.vocab_size}"
    yield f"  end_of_document: {encoding.end_of_document}  # {_comment(encoding.why)}"
    if encoding.sha256 is not None:
        yield f"  sha256: {_scalar(encoding.sha256)}"
    yield from _special(encoding, checkpoint.reading.model["kind"])


def _special(encoding: Encoding, model: str) -> Iterator[str]:
    """The ids that the objective of a family needs, where the tokenizer has them."""
    if model == "encoder" and encoding.mask is not None:
        yield f"  mask_token: {encoding.mask}"
    if model == "encoder_decoder" and encoding.sentinels is not None:
        yield f"  sentinel_tokens: {_flow(encoding.sentinels)}"


def _stage(weights: Weights, family: str) -> Iterator[str]:
    yield "stages:"
    yield f"  {STAGE}:  # {weights.text}"
    yield "    kind: import"
    yield f"    path: {STAGE}"
    yield f"    sha256: {_scalar(weights.sha256)}"
    yield f"    family: {_scalar(family)}"


def _block(key: str, value: Any, indent: str = "") -> Iterator[str]:
    """One key with its value: in braces where that fits on the line."""
    short = f"{indent}{key}: {_flow(value)}"
    if not isinstance(value, Mapping) or not value or (len(short) <= _WIDTH and indent):
        yield short
        return
    yield f"{indent}{key}:"
    for below, item in value.items():
        yield from _block(below, item, f"{indent}  ")


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A value as YAML 1.2 reads it back."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _comment(text: str) -> str:
    """Text of somebody else's file on the rest of a line."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
