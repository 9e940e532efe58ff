"""Turns of a chat as the one text that a model reads.

The formats are those of the templates that transformers ships with the models named; every text of ours already stands
at the beginning of a document, so no beginning is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from runners.errors import RunError

Turn = Mapping[str, str]
"""`role` and `content`."""


def write(template: str, turns: Sequence[Turn], *, answer: bool = True) -> str:
    """The text of turns, and the beginning of the assistant's next one if an `answer` is to follow."""
    if template not in _TEMPLATES:
        known = ", ".join(f"`{name}`" for name in _TEMPLATES)
        raise RunError(f"this version writes the chat templates {known}, and the tokenizer declares `{template}`")
    turn, opening = _TEMPLATES[template]
    return "".join(turn(one["role"], one["content"]) for one in turns) + (opening if answer else "")


def _chatml(role: str, content: str) -> str:
    return f"<|im_start|>{role}\n{content}<|im_end|>\n"


def _llama3(role: str, content: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content.strip()}<|eot_id|>"


def _zephyr(role: str, content: str) -> str:
    return f"<|{role}|>\n{content}</s>\n"


_TEMPLATES: dict[str, tuple[Callable[[str, str], str], str]] = {
    "chatml": (_chatml, "<|im_start|>assistant\n"),
    "llama3": (_llama3, "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    "zephyr": (_zephyr, "<|assistant|>\n"),
}
