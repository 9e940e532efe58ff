"""The blocks of a model in order: all alike, or a visible pattern of classes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from specc import ir
from specc.backends import templates


def layers(blocks: Sequence[ir.Layer], folder: str, names: Mapping[str, str]) -> Any:
    """The macros that say which class of attention and of feed-forward each layer has.

    `names` are what the templates of `folder` call the block, its pattern and the number of blocks.
    """
    sorts = [
        (layer.part("attention").values["module"], layer.part("ffn").values["module"])
        for layer in blocks
        for _ in range(layer.count)
    ]
    attentions, ffns = (tuple(dict.fromkeys(modules)) for modules in zip(*sorts, strict=True))
    holes: dict[str, Any] = {**names, "attention_module": attentions[0], "ffn_module": ffns[0]}
    if len(attentions) == len(ffns) == 1:
        return templates.macros(f"{folder}/alike.py.j2", holes)
    if len(ffns) == 1:
        name, words = "by_attention", [attention for attention, _ in sorts]
    elif len(attentions) == 1:
        name, words = "by_ffn", [ffn for _, ffn in sorts]
    else:
        name, words = "by_both", [f"({attention}, {ffn})" for attention, ffn in sorts]
    return templates.macros(f"{folder}/{name}.py.j2", {**holes, "pattern": pattern(words)})


def pattern(words: Sequence[str]) -> str:
    """A tuple as a person writes it: a period and how often, with what is left over, or runs of the same."""
    periods = (size for size in range(1, len(words)) if all(words[i] == words[i % size] for i in range(len(words))))
    size = next(periods, len(words))
    if size < len(words):
        times, left = divmod(len(words), size)
        return " + ".join((f"{_runs(words[:size])} * {times}", *((_runs(words[:left]),) if left else ())))
    return _runs(words, inside=False)


def _runs(words: Sequence[str], *, inside: bool = True) -> str:
    """All words one by one, or `(Dense,) * 3 + (Experts,) * 58` where that is shorter."""
    plain = f"({', '.join(words)},)" if len(words) == 1 else f"({', '.join(words)})"
    runs = [(word, len(tuple(alike))) for word, alike in itertools.groupby(words)]
    short = " + ".join(f"({word},) * {count}" if count > 1 else f"({word},)" for word, count in runs)
    shorter = f"({short})" if inside and len(runs) > 1 else short
    return plain if len(plain) <= len(shorter) else shorter
