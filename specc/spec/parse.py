"""Source to Spec: pydantic decides what is legal, and every refusal becomes a diagnostic at its place."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnly
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from specc.diagnostics import At, Finding
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.source import Source, SpecErrors
from specc.source.scalars import resolve
from specc.source.tree import Mapping, Node, Scalar, Sequence, child, to_data
from specc.spec import language
from specc.spec.spec import Spec
from specc.spec.synonyms import SYNONYMS

_WHOLE, _NUMBER, _TEXT = "a whole number", "a number", "text"
_TAKES = {
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "finite_number": _NUMBER,
    "string_type": _TEXT,
    "bool_type": "`true` or `false`",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "nothing",
}
# Words that were booleans in YAML 1.1.
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_LONGEST_QUOTE = 40
_LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}


def parse(source: Source) -> Spec:
    """The spec, or SpecErrors with one diagnostic a mistake."""
    try:
        return Spec.model_validate(to_data(source.root))
    except ValidationError as error:
        findings = _findings(source.root, error.errors(include_url=False, include_context=True))
    raise SpecErrors(tuple(source.locate(finding) for finding in findings), source.texts)


@dataclass(frozen=True)
class _Refusal:
    """One pydantic error with its place in the tree: `path` as written, `key` where a key is unknown or missing."""

    type: str
    path: Path
    key: str | None
    context: ReadOnly[str, Any]
    node: Node | None
    parent: Node

    @property
    def section(self) -> str:
        """The mapping that the key belongs to, as a user would name it."""
        return ".".join(str(part) for part in self.path) or "a spec"


def _findings(root: Mapping, errors: list[ErrorDetails]) -> list[Finding]:
    refusals = [_place(root, error) for error in errors]
    # Unions report every member; what is said about one place belongs together.
    groups: dict[tuple[Path, str | None], list[_Refusal]] = {}
    for refusal in refusals:
        groups.setdefault((refusal.path, refusal.key), []).append(refusal)
    unknown = {
        (r.path, language.nearest_key(r.path, root, r.key or "")) for r in refusals if r.type == "extra_forbidden"
    }
    findings = []
    for group in groups.values():
        first = group[0]
        # A misspelt required key is unknown and missing at once: the unknown one says it all.
        if first.type == "missing" and (first.path, first.key) in unknown:
            continue
        findings.append(_finding(root, group))
    return sorted(findings, key=lambda finding: finding.code in ("SPC005",))


def _place(root: Mapping, error: ErrorDetails) -> _Refusal:
    """Drop from pydantic's location what is no part of the tree: tags and members of unions."""
    path: list[str | int] = []
    node: Node = root
    loc = error["loc"]
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        below = child(node, part)
        if error["type"] in ("extra_forbidden", "missing") and last:
            return _Refusal(error["type"], tuple(path), str(part), error.get("ctx", {}), below, node)
        if below is None:
            continue
        if part == _kind(node) and index + 1 < len(loc) and child(below, loc[index + 1]) is None:
            continue
        path.append(part)
        node = below
    context = error.get("ctx", {})
    if error["type"] == "union_tag_not_found":
        return _Refusal("missing", tuple(path), "kind", context, None, node)
    return _Refusal(error["type"], tuple(path), None, context, node, node)


def _kind(node: Node) -> str | None:
    value = node.scalar("kind") if isinstance(node, Mapping) else None
    return value if isinstance(value, str) else None


def _finding(root: Mapping, group: list[_Refusal]) -> Finding:
    first = group[0]
    if first.type == "extra_forbidden":
        return _unknown_key(root, first)
    if first.type == "missing":
        return _missing_key(root, first)
    if first.type == "union_tag_invalid":
        return _unknown_kind(root, first)
    if first.type.startswith("quantity"):
        return _bad_quantity(first)
    if first.type in _LIMITS and len(group) == 1:
        limit, text = _LIMITS[first.type]
        must = text.format(_written(first.context[limit]))
        return Finding("SPC007", f"`{first.path[-1]}` must be {must}, not {_shown(first.node)}", (At(first.path),))
    return _wrong_type(root, group)


def _unknown_key(root: Mapping, refusal: _Refusal) -> Finding:
    key = refusal.key or ""
    name = language.section_name(refusal.path, root)
    headline = f"{name} has no key `{key}`"
    at = (At((*refusal.path, key), of_key=True),)
    keys = language.keys(refusal.path, root)
    word = SYNONYMS.get(key, key)
    if word in keys:
        return Finding("SPC003", headline, at, help=f"did you mean `{word}`?")
    elsewhere = language.where(word, root, refusal.path)
    if elsewhere:
        return Finding("SPC003", headline, at, help=f"`{word}` belongs under `{elsewhere[0]}`")
    near = nearest(key, keys)
    return Finding("SPC003", headline, at, help=f"did you mean `{near}`?" if near else f"its keys are {_list(keys)}")


def _missing_key(root: Mapping, refusal: _Refusal) -> Finding:
    key = refusal.key or ""
    name = language.section_name(refusal.path, root)
    meaning = language.describe((*refusal.path, key), root)
    at = (At(refusal.path, of_key=True),)
    return Finding("SPC005", f"{name} needs `{key}`", at, help=f"`{key}`: {meaning}" if meaning else None)


def _unknown_kind(root: Mapping, refusal: _Refusal) -> Finding:
    kinds = [word.strip().strip("'") for word in str(refusal.context["expected_tags"]).split(",")]
    written = str(refusal.context["tag"])
    name = language.section_name(refusal.path, root, bare=True)
    near = nearest(written, kinds)
    help_text = f"did you mean `{near}`?" if near else f"its kinds are {_list(kinds)}"
    return Finding("SPC006", f"no {name} kind `{written}`", (At((*refusal.path, "kind")),), help=help_text)


def _bad_quantity(refusal: _Refusal) -> Finding:
    key, shown, example = refusal.path[-1], _shown(refusal.node), refusal.context["example"]
    at = (At(refusal.path),)
    if refusal.type == "quantity_unit" and isinstance(refusal.node, Scalar):
        units = refusal.context["units"]
        could = " or ".join(units)
        if isinstance(refusal.node.value, int | float):
            headline = f"`{key}` needs a unit: {shown} could be {could}" if len(units) > 1 else f"`{key}` needs a unit"
            tried = f"{refusal.node.text} {units[0]}" if units[0] in ("tokens", "steps", "sequences") else example
            return Finding("SPC008", headline, at, help=f"write `{tried}`" + _others(refusal.node.text, units))
        return Finding(
            "SPC008", f"`{key}` is measured in {could}, not `{refusal.node.text}`", at, help=f"such as `{example}`"
        )
    if refusal.type == "quantity_positive":
        return Finding("SPC007", f"`{key}` must be more than 0, not {shown}", at)
    if refusal.type == "quantity_whole":
        return Finding("SPC007", f"`{key}` must be a whole number of {refusal.context['unit']}, not {shown}", at)
    return Finding("SPC004", f"`{key}` takes a quantity with its unit, not {shown}", at, help=f"such as `{example}`")


def _others(text: str, units: tuple[str, ...]) -> str:
    counted = [unit for unit in units[1:] if unit in ("tokens", "steps", "sequences", "epochs")]
    return "".join(f" or `{text} {unit}`" for unit in counted)


def _wrong_type(root: Mapping, group: list[_Refusal]) -> Finding:
    first = group[0]
    takes: list[str] = []
    for refusal in group:
        takes += [word for word in _expected(refusal) if word not in takes]
    if first.type in _LIMITS:
        limit, text = _LIMITS[first.type]
        takes = [text.format(_written(first.context[limit])), *takes[1:]]
    key = first.path[-1] if first.path else "a spec"
    shown = _shown(first.node)
    meaning = language.describe(first.path, root)
    words = [word.strip("`") for word in takes]
    near = _BOOLEANS.get(shown.strip("`").lower()) if first.type == "bool_type" else nearest(shown.strip("`"), words)
    help_text = f"did you mean `{near}`?" if near else (f"`{key}`: {meaning}" if meaning else None)
    return Finding("SPC004", f"`{key}` takes {' or '.join(takes)}, not {shown}", (At(first.path),), help=help_text)


def _expected(refusal: _Refusal) -> list[str]:
    if refusal.type == "literal_error":
        words = str(refusal.context["expected"]).replace(" or ", ", ").split(", ")
        return [f"`{word.strip(chr(39))}`" for word in words]
    if refusal.type == "string_pattern_mismatch":
        return ["a name of letters, digits, `_`, `-` and `.`"]
    if refusal.type in ("too_short", "string_too_short", "too_long", "string_too_long"):
        return ["at least one" if "short" in refusal.type else "fewer"]
    return [_TAKES.get(refusal.type, refusal.type.replace("_", " "))]


def _shown(node: Node | None) -> str:
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node is None or node.value is None:
        return "nothing"
    text = node.text if len(node.text) <= _LONGEST_QUOTE else node.text[: _LONGEST_QUOTE - 3] + "..."
    quoted = isinstance(node.value, str) and resolve(node.text) != node.value
    return f'`"{text}"`' if quoted else f"`{text}`"


def _written(limit: object) -> str:
    return f"{limit:g}" if isinstance(limit, float) else f"{limit:,}"


def _list(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)
