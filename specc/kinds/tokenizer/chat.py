"""How the turns of a chat become one text: the same question for every tokenizer."""

from __future__ import annotations

from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.diagnostics.near import nearest

NONE = "none"
TEMPLATES = (NONE, "chatml", "llama3", "zephyr")
TEMPLATE = "How turns become text: `none`, `chatml`, `llama3`, `zephyr`, or the path of a Jinja file."


def check_template(template: str) -> Iterator[Finding]:
    """A word that is neither a template nor looks like a path."""
    if template in TEMPLATES or "/" in template or template.endswith((".jinja", ".jinja2", ".j2")):
        return
    near = nearest(template, TEMPLATES)
    listed = ", ".join(f"`{known}`" for known in TEMPLATES)
    help_text = f"did you mean `{near}`?" if near else f"it is one of {listed}, or a path that ends in `.jinja`"
    at = (At(("tokenizer", "chat_template")),)
    yield Finding("SPC512", f"there is no chat template `{template}`", at, help=help_text)
