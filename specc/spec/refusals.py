"""What pydantic refuses, with its place in the tree, and one refusal a mistake.

Pydantic reports every member of a union, the length of what is left of a list after its bad items are gone, and the
content of an entry whose name is no name. None of that is another mistake.
"""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_core import ErrorDetails

from specc.diagnostics.diagnostic import Path
from specc.source.scalars import resolve
from specc.source.tree import Mapping, Node, Scalar, Sequence, child
from specc.spec import language

UNKNOWN, MISSING, KIND, ARITY = "extra_forbidden", "missing", "union_tag_invalid", "arity"
_NO_KIND = "union_tag_not_found"
_LONGEST_QUOTE = 40
_OF_KEYS = (UNKNOWN, MISSING)
_WRONG_TYPES = ("_type", "_from_float", "literal_error", "none_required")


@dataclass(frozen=True)
class Refusal:
    """One pydantic error with its place in the tree: `path` as written, `key` where a key is unknown or missing."""

    type: str
    path: Path
    node: Node | None
    key: str | None = None
    context: ReadOnly[str, Any] = field(default_factory=dict)
    of_name: bool = False
    """Whether the name of the entry is refused, and not what it holds."""

    @property
    def wrong_type(self) -> bool:
        """Whether this is only that the value is of another type: what members of a union say that were not meant."""
        return self.type.endswith(_WRONG_TYPES)

    @property
    def full(self) -> Path:
        """The path with the key that is unknown or missing."""
        return self.path if self.key is None else (*self.path, self.key)


def refusals(root: Mapping, errors: list[ErrorDetails]) -> list[list[Refusal]]:
    """Refusals grouped by mistake, in the order in which pydantic found them."""
    placed = _without_echoes(root, [_place(root, error) for error in errors])
    groups: dict[tuple[Path, str | None], list[Refusal]] = {}
    for refusal in placed:
        groups.setdefault((refusal.path, refusal.key), []).append(refusal)
    return [_matching(group) for group in groups.values()]


def called(refusal: Refusal) -> str:
    """A value by its key, or as an item of one."""
    start = len(refusal.path) - 1
    while start > 0 and isinstance(refusal.path[start], int):
        start -= 1
    return language.name(refusal.path[start:]) if refusal.path else "a spec"


def shown(node: Node | None) -> str:
    """A value as messages quote it."""
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node is None or node.value is None:
        return "nothing"
    quoted = isinstance(node.value, str) and resolve(node.text) != node.value
    return f'`"{cut(node.text)}"`' if quoted else f"`{cut(node.text)}`"


def text(node: Node | None) -> str:
    """What was written, where it is a scalar."""
    return node.text if isinstance(node, Scalar) else ""


def cut(words: str) -> str:
    """Words no longer than a line can hold."""
    return words if len(words) <= _LONGEST_QUOTE else words[: _LONGEST_QUOTE - 3] + "..."


def _place(root: Mapping, error: ErrorDetails) -> Refusal:
    """Drop from pydantic's location what is no part of the tree: tags and members of unions."""
    path: list[str | int] = []
    node: Node = root
    loc, kind = error["loc"], error["type"]
    context = error.get("ctx", {})
    for index, part in enumerate(loc):
        below = child(node, part)
        if kind in _OF_KEYS and index == len(loc) - 1:
            return _of_key(kind, tuple(path), part, node)
        if below is None:
            continue
        if part == _kind(node) and index + 1 < len(loc) and child(below, loc[index + 1]) is None:
            continue
        path.append(part)
        node = below
    if kind == _NO_KIND:
        return _without_kind(root, tuple(path), node)
    if kind == "literal_error" and path and path[-1] == "kind":
        # A section with one kind is no union, and its user sees no difference.
        above = tuple(path[:-1])
        return Refusal(KIND, above, _at(root, above))
    return Refusal(kind, tuple(path), node, context=context, of_name=loc[-1:] == ("[key]",))


def _of_key(kind: str, path: Path, part: str | int, node: Node) -> Refusal:
    if isinstance(part, int):
        # A list of a fixed length lacks its last values.
        return Refusal(ARITY, path, node)
    return Refusal(kind, path, node, part)


def _without_kind(root: Mapping, path: Path, node: Node) -> Refusal:
    """The kind is missing; or it is there under a misspelt key, which pydantic does not look for."""
    written = list(node.entries) if isinstance(node, Mapping) else []
    for key in written:
        if not language.kinds(path, root, having=key) and language.is_kind(key):
            return Refusal(UNKNOWN, path, node, key)
    return Refusal(MISSING, path, node, "kind")


def _kind(node: Node) -> str | None:
    value = node.scalar("kind") if isinstance(node, Mapping) else None
    return value if isinstance(value, str) else None


def _at(root: Mapping, path: Path) -> Node | None:
    node: Node | None = root
    for part in path:
        node = child(node, part) if node is not None else None
    return node


def _without_echoes(root: Mapping, placed: list[Refusal]) -> list[Refusal]:
    names = {refusal.path for refusal in placed if refusal.of_name}
    lacking = {refusal.path for refusal in placed if refusal.type == MISSING}
    unknown = [refusal for refusal in placed if refusal.type == UNKNOWN and refusal.path in lacking]
    misspelt = {(refusal.path, language.nearest_key(refusal.path, root, refusal.key or "")) for refusal in unknown}
    kinds = {(r.path, r.key) for r in placed if r.type == UNKNOWN and language.is_kind(r.key or "")}
    without_kind = {path for path, key in kinds if "kind" in language.keys(path, root)}
    above = {refusal.full[:length] for refusal in placed for length in range(len(refusal.full))}
    kept = []
    for refusal in placed:
        below_name = any(refusal.full[: len(name)] == name for name in names)
        # A misspelt required key is unknown and missing at once: the unknown one says it all.
        known = refusal.type == MISSING and (refusal.path, refusal.key) in misspelt
        # Where `kind` is misspelt, what the default kind lacks or does not know is no mistake.
        of_kind = refusal.path in without_kind and refusal.type in _OF_KEYS and (refusal.path, refusal.key) not in kinds
        of_union = refusal.wrong_type and refusal.path in above
        if (below_name and not refusal.of_name) or known or of_kind or of_union or _is_long_enough(refusal):
            continue
        kept.append(_renamed(refusal))
    return kept


def _is_long_enough(refusal: Refusal) -> bool:
    """Whether what was written is long enough, and only became too short when its bad items were dropped."""
    written = refusal.node.items if isinstance(refusal.node, Sequence) else ()
    return refusal.type == "too_short" and len(written) >= refusal.context["min_length"]


def _renamed(refusal: Refusal) -> Refusal:
    return replace(refusal, type=ARITY) if refusal.type == "too_long" else refusal


def _matching(group: list[Refusal]) -> list[Refusal]:
    """What the member of a union says whose type was written comes first, and alone unless others offer words."""
    matching = [refusal for refusal in group if not refusal.wrong_type]
    words = [refusal for refusal in group if refusal.type == "literal_error"]
    return [matching[0], *words] if matching else group
