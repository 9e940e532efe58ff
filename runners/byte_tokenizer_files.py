"""The byte tokenizer as a `tokenizer.json`, so that other tools give each text the ids that it was trained with."""

from __future__ import annotations

from typing import Any

END = "<|endofdocument|>"


def files(end_of_document: int, context_length: int) -> dict[str, dict[str, Any]]:
    """Contents by name of file: a byte-level BPE without merges, whose id of each byte is the byte."""
    end = {"content": END, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    model: dict[str, Any] = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {letter: byte for byte, letter in enumerate(_letters())},
        "merges": [],
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": end_of_document, **end, "special": True}],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
    }
    return {"tokenizer.json": whole, "tokenizer_config.json": settings}


def _letters() -> list[str]:
    """The letter that stands for each byte (Radford et al. 2019, GPT-2, `bytes_to_unicode` of its encoder.py).

    Bytes that are visible in Latin-1 stand for themselves, the others for letters from U+0100 on, in their order.
    """
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256))
    return [chr(byte) if byte in visible else chr(256 + next(others)) for byte in range(256)]
