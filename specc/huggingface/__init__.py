"""Configs of transformers and the `model:` section of a spec, each read into the other; and which tensor is which."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from specc.diagnostics.near import nearest
from specc.huggingface.families import FAMILIES
from specc.huggingface.family import Family
from specc.huggingface.reading import Reading, read_with
from specc.huggingface.tensors import HOWS, How, Move, as_data, from_data
from specc.huggingface.unspoken import UnknownFamily, Unspoken, Unwritable
from specc.huggingface.writing import write_with

__all__ = [
    "FAMILIES", "HOWS", "Family", "How", "Move", "Reading", "UnknownFamily", "Unspoken", "Unwritable", "as_data",
    "family", "from_data", "read", "write",
]  # fmt: skip


_WITH_IMAGES = {"gemma3": "gemma3_text"}
"""Families that also read images, each with that of their language model."""


def family(model_type: str) -> Family:
    """The family of a `model_type`; Unspoken when there is none."""
    known = {one.model_type: one for one in FAMILIES}
    if model_type in known:
        return known[model_type]
    if model_type in _WITH_IMAGES:
        reason = (
            f"its vision part cannot be said; a checkpoint of its language model alone is `{_WITH_IMAGES[model_type]}`"
        )
        raise Unspoken(("model_type",), model_type, reason)
    reason = f"the families known are {', '.join(sorted(known))}"
    raise UnknownFamily(("model_type",), model_type, reason, nearest(model_type, known))


def read(config: Mapping[str, Any], model_type: str | None = None) -> Reading:
    """Read a `config.json`; `model_type` stands in where the config has none. Unspoken for what we cannot say."""
    return read_with(family(str(config.get("model_type") or model_type or "")), config)


def write(
    model: Mapping[str, Any], model_type: str, defaulted: Collection[tuple[str | int, ...]] = ()
) -> dict[str, Any]:
    """The config of a native class for a `model:` section with its defaults explicit; Unwritable when it has none.

    `defaulted` are the paths of keys that say their default, which a reading of the config need not repeat.
    """
    return write_with(family(model_type), model, defaulted)
