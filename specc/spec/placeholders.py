"""Where `${env:NAME}` may stand: in paths, and never in what makes an experiment another one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.source.placeholders import KNOWN, malformed
from specc.source.tree import Mapping, Node, Scalar, Sequence
from specc.spec import language

_MEANT = re.compile(r"\$\{(env|python)\b")


def check_placeholders(root: Mapping) -> Iterator[Finding]:
    """SPC016 for a placeholder where none can stand, SPC017 for one in a path that stands for nothing."""
    for path, text in _texts(root, ()):
        if not _is_known(root, path):
            # What stands under an unknown key is reported with the key.
            continue
        if not language.is_path(path, root):
            if (found := _MEANT.search(text)) is not None:
                yield _misplaced(root, path, found[1])
        elif (problem := malformed(text)) is not None:
            yield Finding("SPC017", problem, (At(path),), help=f"a path may hold {KNOWN}")


def _misplaced(root: Mapping, path: Path, what: str) -> Finding:
    last = next((part for part in reversed(path) if isinstance(part, str)), "")
    name = ".".join(str(part) for part in path)
    headline = f"`{last}` cannot hold `${{{what}:...}}`"
    if "identity" in language.effects(path, root):
        note = f"`{last}` makes another experiment when it changes, and that must not hang on the machine that reads it"
        help_text = f"write it out, or give it per run: `--set {name}=...` names the variant"
        return Finding("SPC016", headline, (At(path),), (note,), help_text)
    note = (
        "only the paths of data, and `extends`, may hold it: anything else would differ from machine to machine unseen"
    )
    return Finding("SPC016", headline, (At(path),), (note,), f"write it out, or give it per run: `--set {name}=...`")


def _is_known(root: Mapping, path: Path) -> bool:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return language.describe(path, root) is not None


def _texts(node: Node, above: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(node, Scalar):
        if isinstance(node.value, str) and "${" in node.value:
            yield above, node.value
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from _texts(item, (*above, index))
    else:
        for key, entry in node.entries.items():
            yield from _texts(entry.node, (*above, key))
