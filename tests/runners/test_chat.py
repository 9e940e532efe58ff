"""Turns are written as the templates that were published write them."""

from __future__ import annotations

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runners import chat
from runners.errors import RunError

TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And 3?"},
)
# `chat_template` of tokenizer_config.json: ChatML as the transformers documentation has it, Meta-Llama-3-8B-Instruct,
# zephyr-7b-beta. Llama 3 begins with its `bos_token`, which stands for the beginning of a document.
PUBLISHED = {
    "chatml": """
{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "llama3": """
{% set loop_messages = messages %}{% for message in loop_messages %}
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim
+ '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}""",
}
# This one needs its line breaks, of which `trim_blocks` leaves those behind `}}`.
ZEPHYR = """\
{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
TEMPLATES = {**{name: text.replace("\n", "") for name, text in PUBLISHED.items()}, "zephyr": ZEPHYR}


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("name", TEMPLATES)
def test_turns_are_written_as_the_published_template_writes_them(name: str, answer: bool) -> None:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)  # as transformers makes it
    template = environment.from_string(TEMPLATES[name])
    expected = template.render(messages=TURNS, add_generation_prompt=answer, bos_token="", eos_token="</s>")
    assert chat.write(name, TURNS, answer=answer) == expected


def test_a_template_that_is_not_known_is_refused() -> None:
    with pytest.raises(RunError, match=r"declares `own\.jinja`"):
        chat.write("own.jinja", TURNS)
