"""The shipped presets of models, lowered and compiled: as large as they are, and small enough to run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from specc import ir
from specc.backends import model as backend
from specc.formatting import format_folders
from specc.kinds.model import MODEL
from specc.source import read
from specc.source.tree import Mapping as Tree
from specc.source.tree import child, to_data
from specc.spec.base import Node
from tests import compiling
from tests.conftest import ROOT

FOLDER = ROOT / "specs/presets/models"
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
_LAYERS = 4


def section(preset: str) -> dict[str, Any]:
    """The `model:` section that a spec gets which extends a preset."""
    model = child(read(FOLDER / f"{preset}.yaml").root, "model")
    assert isinstance(model, Tree)
    written: dict[str, Any] = to_data(model)
    return written


def validated(section: Mapping[str, Any]) -> Node:
    """A `model:` section with all its defaults."""
    kinds: dict[str, type[Node]] = {kind.model_fields["kind"].annotation.__args__[0]: kind for kind in MODEL}  # type: ignore[union-attr]
    return kinds[section["kind"]].model_validate(_frozen(section))


def lowered(preset: str) -> ir.Model:
    """The model of a preset, whose token table does not depend on a tokenizer."""
    model: ir.Model = validated(section(preset)).lower(ir.Tokenizer("byte", 257, 256, 1.0))  # type: ignore[attr-defined]
    return model


def text(preset: str) -> str:
    """The `model.py` of a preset at its own size. Nothing is planned: no machine needs to hold it."""
    tiny = compiling.planned()
    plan = replace(tiny, experiment=replace(tiny.experiment, name=preset, model=lowered(preset)))
    ((artifact,),) = format_folders((backend.emit(plan),))
    return artifact.text


def small(preset: str) -> tuple[str, ...]:
    """Overrides that leave the kinds of a preset as they are, and nothing of its size."""
    return tuple(f"model.{key}={value}" for key, value in _shrunken(section(preset)))


def _shrunken(written: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    attention, ffn = written["attention"], written["ffn"]
    # Where a pattern is written out for all layers, as in Gemma 3 and ModernBERT, seven of them show it.
    pattern = attention.get("pattern") or "G"
    yield from {"hidden_size": 64, "context_length": 64, "vocab_size": 264}.items()
    yield "num_layers", _LAYERS if _LAYERS % len(pattern) == 0 else 7
    if _LAYERS % len(pattern):
        yield "attention.pattern", pattern[:7]
    if "num_decoder_layers" in written:
        yield "num_decoder_layers", 3
    sizes = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 24, "window": 8, "kv_lora_rank": 32, "q_lora_rank": 48}
    sizes |= {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
    yield from ((f"attention.{key}", size) for key, size in sizes.items() if attention.get(key) is not None)
    if "original_context_length" in written["position"]:
        yield "position.original_context_length", 16
    sizes = {"intermediate_size": 96, "shared_intermediate_size": 80, "num_experts": 16}
    yield from ((f"ffn.{key}", size) for key, size in sizes.items() if key in ffn)
    if "dense" in ffn:
        yield "ffn.dense.intermediate_size", 128


def _frozen(value: Any) -> Any:
    """The same with tuples for lists, as sections of a spec are held."""
    if isinstance(value, Mapping):
        return {key: _frozen(below) for key, below in value.items()}
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value
