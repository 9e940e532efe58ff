"""What a spec says of a tokenizer, read from the files that came with a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
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
    put = None if tokenizer is None else _put_before(tokenizer, ids)
    if put is not None:
        return Encoding(size, put[1], f"`{put[0]}`, which the tokenizer puts before a text", digest)
    for key, what in (("eos_token", "ends a text"), ("bos_token", "begins a text")):
        word = _content(settings.get(key)) or ""
        if word in ids:
            return Encoding(size, ids[word], f"`{word}`, which {what}", digest)
    for key in ("eos_token_id", "bos_token_id"):
        found = config.get(key)
        first = found[0] if isinstance(found, list) and found else found
        if isinstance(first, int) and 0 <= first < size:
            return Encoding(size, first, f"`{key}` of config.json", digest)
    return Encoding(size, 0, "no file says which token ends a text: this is a guess", digest)


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
