"""What a spec says of a tokenizer, read from the files that came with a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Encoding:
    """The `tokenizer:` section of an imported model."""

    vocab_size: int
    """Ids in use."""
    end_of_document: int
    why: str
    """Why that token stands before every document."""
    sha256: str | None
    """Of `tokenizer.json`; None where there is none."""
    mask: int | None = None
    """Id of the mask; None where no file says one."""
    sentinels: tuple[int, int] | None = None
    """First and last id of `<extra_id_0>` and those after it; None where they do not follow one another."""


def read_encoding(
    config: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None,
    text: str | None,
    settings: Mapping[str, Any],
) -> Encoding:
    """From `config.json`, `tokenizer.json` (parsed, and its text) and `tokenizer_config.json`.

    Before every document stands the token that the tokenizer itself puts there, so that a text is read as the model
    was trained to read it; where it puts none, the one that ends a text.
    """
    ids = {} if tokenizer is None else dict(_ids(tokenizer))
    size = max(ids.values(), default=-1) + 1 or int(config.get("vocab_size") or 1)
    digest = None if text is None else sha256(text.encode("utf-8")).hexdigest()
    end, why = _end(config, tokenizer, ids, size, settings)
    return Encoding(size, end, why, digest, ids.get(_content(settings.get("mask_token")) or ""), _sentinels(ids))


def _end(
    config: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | None,
    ids: Mapping[str, int],
    size: int,
    settings: Mapping[str, Any],
) -> tuple[int, str]:
    """The token before every document, and why it is that one."""
    put = None if tokenizer is None else _put_before(tokenizer, ids)
    if put is not None:
        return put[1], f"`{put[0]}`, which the tokenizer puts before a text"
    for key, what in (("eos_token", "ends a text"), ("bos_token", "begins a text")):
        word = _content(settings.get(key)) or ""
        if word in ids:
            return ids[word], f"`{word}`, which {what}"
    for key in ("eos_token_id", "bos_token_id"):
        found = config.get(key)
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, int) and 0 <= first < size:
            return first, f"`{key}` of config.json"
    return 0, "no file says which token ends a text: this is a guess"


def _sentinels(ids: Mapping[str, int]) -> tuple[int, int] | None:
    """Of T5's sentinels the first and the last, where their ids follow one another up or down."""
    found: list[int] = []
    while f"<extra_id_{len(found)}>" in ids:
        found.append(ids[f"<extra_id_{len(found)}>"])
    if len(found) < 2 or {after - before for before, after in pairwise(found)} not in ({1}, {-1}):
        return None
    return found[0], found[-1]


def _ids(tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every token with its id: those of the model, and those that were added."""
    vocab = (tokenizer.get("model") or {}).get("vocab") or {}
    if isinstance(vocab, Mapping):
        yield from ((str(word), number) for word, number in vocab.items() if isinstance(number, int))
    else:  # a unigram model lists pairs of word and score
        yield from ((str(pair[0]), number) for number, pair in enumerate(vocab))
    for added in tokenizer.get("added_tokens") or ():
        yield str(added.get("content")), int(added.get("id", 0))


def _put_before(tokenizer: Mapping[str, Any], ids: Mapping[str, int]) -> tuple[str, int] | None:
    """The token that the tokenizer puts before a text."""
    step = tokenizer.get("post_processor") or {}
    for one in step.get("processors") or (step,):
        template = one.get("single") or () if one.get("type") == "TemplateProcessing" else ()
        word = (template[0].get("SpecialToken") or {}).get("id") if template else None
        if word is not None and str(word) in ids:
            return str(word), ids[str(word)]
        if one.get("type") in ("RobertaProcessing", "BertProcessing") and one.get("cls"):
            return str(one["cls"][0]), int(one["cls"][1])
    return None


def _content(token: Any) -> str | None:
    """The text of a token, which settings write as text or as a mapping."""
    found = token.get("content") if isinstance(token, Mapping) else token
    return None if found is None else str(found)
