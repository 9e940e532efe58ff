"""From a `model:` section to the config of a native class, proved by reading the config back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from specc.huggingface import parts
from specc.huggingface.family import Family
from specc.huggingface.reading import read_with
from specc.huggingface.unspoken import Unspoken, Unwritable

_SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "attention": {**parts.ATTENTION, **parts.NORM},
    "position": parts.POSITION,
    "norm": parts.NORM,
    "ffn": parts.FFN,
    "embedding": {**parts.EMBEDDING, **parts.NORM},
    "head": {"kind": "lm", **parts.HEAD},
    "dropout": parts.DROPOUT,
}
"""Sections and what their keys are when nobody writes them."""
# How a model starts is no part of what it computes, and a kernel is a choice of the machine.
_APART = frozenset({("init",), ("attention", "kernel"), ("position", "num_positions")})
_MISSING = object()


def write_with(
    family: Family, model: Mapping[str, Any], defaulted: Collection[tuple[str | int, ...]] = ()
) -> dict[str, Any]:
    """The config of this family for a model section whose defaults are explicit.

    The config is read back, and Unwritable names the first key of the section that it does not say. A key whose path
    is among `defaulted` says its default, which the reading back need not repeat.
    """
    try:
        config = {"model_type": family.model_type, "architectures": [family.architectures[0]], **family.write(model)}
        read = read_with(family, config).model
    except KeyError as error:
        lacks = f"its config is written from `{error.args[0]}`, which no key of the model says"
        raise Unwritable(f"`{family.architectures[0]}` cannot compute this model: {lacks}") from None
    except Unspoken as error:
        raise Unwritable(f"`{family.architectures[0]}` has no config for this model: {error}") from None
    found = _plain(read)
    said = {path: value for path, value in _plain(model).items() if path in found or path not in defaulted}
    for path, ours, theirs in _differences(said, found):
        key = ".".join(("model", *path))
        raise Unwritable(f"`{family.architectures[0]}` computes `{key}` {theirs}, and this model has {ours}")
    return config


def _plain(section: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Leaves of a section by path, every key that says its default left out and heads in one form."""
    flat = dict(_leaves(parts.differing(section, parts.DEFAULTS), ()))
    reads = section.get("head", {}).get("kind", "lm") != "lm"
    for name, defaults in {**_SECTIONS, **({"head": parts.READING_HEAD} if reads else {})}.items():
        flat = {path: v for path, v in flat.items() if path[0] != name or not _is_default(path, v, defaults)}
    attention = section.get("attention", {})
    if attention.get("kind") in ("mha", "mqa", "gqa"):
        flat[("attention", "kind")] = "gqa"
        flat[("attention", "num_kv_heads")] = parts.kv_heads(attention)
        flat[("attention", "head_dim")] = parts.head_dim(section)
    if flat.get(("position", "scaling", "kind"), "linear") == "linear":
        # Angles as trained, and those divided by one number, do not depend on what they were trained for.
        flat.pop(("position", "original_context_length"), None)
    return {path: v for path, v in flat.items() if not any(path[: len(skip)] == skip for skip in _APART)}


def _is_default(path: tuple[str, ...], value: Any, defaults: Mapping[str, Any]) -> bool:
    if path == ("attention", "bias"):
        return value in ("none", False)
    return bool(value == defaults.get(path[-1], _MISSING))


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(below, (*path, key))
    else:
        yield path, list(value) if isinstance(value, tuple) else value


def _differences(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Paths where the two disagree; a key that only ours has says its default, or something that theirs cannot."""
    for path in sorted({*ours, *theirs}):
        one, other = ours.get(path, _MISSING), theirs.get(path, _MISSING)
        if one != other:
            yield path, _shown(one), _shown(other)


def _shown(value: Any) -> str:
    return "by its default" if value is _MISSING else f"as {value}"
