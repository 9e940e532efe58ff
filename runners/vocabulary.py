"""A vocabulary that grows: ids are written as the parts that they were merged from, until their merges are in use.

A byte-pair encoding applies its merges in order (Sennrich et al. 2016, arXiv:1508.07909, section 3.2), so what the
first of them make of a text is what is left of the whole encoding when the others are taken back. Training begins with
few merges and takes more of them into use ("Scaling LLM pre-training with vocabulary curriculum", Yu 2025,
arXiv:2502.17910, which chooses them by entropy; here the order is the tokenizer's own).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from runners.errors import RunError


@dataclass(frozen=True)
class Merges:
    """How ids came about, in the order of the merges."""

    made: tuple[int, ...]
    """The id that each merge makes."""
    parts: tuple[tuple[int, int], ...]
    """The two ids that it makes it of."""
    bytes: tuple[int, ...]
    """Of the text of each id; 0 for what stands for no text."""

    def bytes_of(self, ids: np.ndarray) -> int:
        """Bytes of text in int64 ids; those below zero count for nothing."""
        return int(np.array(self.bytes)[ids[ids >= 0]].sum())

    def first(self, count: int, rows: np.ndarray) -> np.ndarray:
        """Rows of ids as the first `count` merges write them, cut to the length that they had.

        int64 [n, length]; a number below zero is `~id`, and all of its parts are then below zero.
        """
        starts, counts, parts = _table(self, count)
        ids = np.where(rows < 0, ~rows, rows)
        found = np.empty_like(rows)
        for row, (written, given) in enumerate(zip(ids, rows, strict=True)):
            sizes = counts[written]
            sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), len(written))) + 1]
            some = len(sizes)
            at = np.repeat(starts[written[:some]] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
            unasked = np.repeat(given[:some] < 0, sizes)
            found[row] = np.where(unasked, ~parts[at], parts[at])[: len(written)]
        return found


def read_merges(folder: Path) -> Merges:
    """Of the `tokenizer.json` in a folder; RunError where its ids are not made by merges, each by one."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model: Mapping[str, Any] = content["model"]
    if model.get("type") != "BPE" or not model.get("merges"):
        raise RunError(f"a vocabulary grows by merges, and the tokenizer in {folder} is of type {model.get('type')}")
    vocab: Mapping[str, int] = model["vocab"]
    prefix = model.get("continuing_subword_prefix") or ""
    pairs = [_pair(merge) for merge in model["merges"]]
    made = tuple(vocab[one + other.removeprefix(prefix)] for one, other in pairs)
    if len({*made}) < len(made):
        raise RunError(f"a vocabulary grows by merges, and the tokenizer in {folder} makes some id by two of them")
    return Merges(made, tuple((vocab[one], vocab[other]) for one, other in pairs), _bytes(content))


def _bytes(content: Mapping[str, Any]) -> tuple[int, ...]:
    """Bytes of the text of each id. A byte-level encoding has one character for each byte."""
    vocab, added = content["model"]["vocab"], content.get("added_tokens") or ()
    by_byte = any('"ByteLevel"' in json.dumps(content.get(part)) for part in ("pre_tokenizer", "decoder"))
    found = dict.fromkeys(range(1 + max((*vocab.values(), *(token["id"] for token in added)))), 0)
    for word, number in vocab.items():
        one_byte = re.fullmatch(r"<0x[0-9A-F]{2}>", word)
        found[number] = len(word) if by_byte else 1 if one_byte else len(word.replace("\u2581", " ").encode())
    for token in added:
        found[token["id"]] = 0 if token.get("special") else len(token["content"].encode())
    return tuple(found.values())


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """Older files write a merge as one text."""
    one, other = merge.split(" ") if isinstance(merge, str) else merge
    return one, other


@lru_cache(maxsize=8)
def _table(merges: Merges, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the parts of each id begin, how many there are, and all parts; int64 each."""
    written: list[tuple[int, ...]] = [(number,) for number in range(len(merges.bytes))]
    for made, (one, other) in list(zip(merges.made, merges.parts, strict=True))[count:]:
        written[made] = (*written[one], *written[other])
    counts = np.array([len(parts) for parts in written])
    return np.cumsum(counts) - counts, counts, np.array([part for parts in written for part in parts])
