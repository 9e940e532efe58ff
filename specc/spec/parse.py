"""Source to Spec: pydantic decides what is legal, and every refusal becomes a diagnostic at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from string import punctuation

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from specc.diagnostics import At, Diagnostic, Finding, Remedy
from specc.diagnostics.diagnostic import Path
from specc.diagnostics.near import nearest
from specc.source import Source, SpecErrors
from specc.source.scalars import resolve
from specc.source.tree import Mapping, Node, Scalar, Sequence, child, to_data
from specc.spec import language
from specc.spec.placeholders import check_placeholders
from specc.spec.refusals import ARITY, KIND, MISSING, UNKNOWN, Refusal, refusals
from specc.spec.remedies import move_key, rename_key, replace_value, replace_word
from specc.spec.spec import Spec
from specc.spec.synonyms import SYNONYMS

_WHOLE, _NUMBER, _TEXT = "a whole number", "a number", "text"
_TAKES = {
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "finite_number": "a finite number",
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
# What a person reads at once. A file with more is another file than was meant, or was written by a program.
_MOST = 200
_LIMITS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}
_LENGTHS = ("too_short", "string_too_short", "string_too_long", ARITY)
_COUNTED = ("tokens", "steps", "sequences", "epochs")
_ABBREVIATED = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*([KMBT]|[KMG]i)")


def parse(source: Source) -> Spec:
    """The spec, or SpecErrors with one diagnostic a mistake."""
    misplaced = list(islice(check_placeholders(source.root), _MOST))
    try:
        spec = Spec.model_validate(to_data(source.root))
        if not misplaced:
            return spec
        findings = []
    except ValidationError as error:
        findings = _findings(source.root, error.errors(include_url=False, include_context=True))
    at = {finding.at[0].path for finding in misplaced}
    findings = [*misplaced, *(finding for finding in findings if finding.at[0].path not in at)]
    diagnostics = sorted(
        (source.locate(finding) for finding in findings), key=lambda found: _reading_order(source, found)
    )
    raise SpecErrors(tuple(diagnostics), source.texts)


def _reading_order(source: Source, found: Diagnostic) -> tuple[bool, int, int, int]:
    """As a person reads: overrides, then file by file from the top; how many more there are comes last."""
    span = found.labels[0].span
    files = list(source.texts)
    return found.code == "SPC040", files.index(span.file) if span.file in files else 0, span.line, span.column


def _findings(root: Mapping, errors: list[ErrorDetails]) -> list[Finding]:
    findings = [_finding(root, group) for group in refusals(root, errors[:_MOST])]
    return [*findings, *_not_shown(len(errors) - _MOST)]


def _not_shown(count: int) -> Iterator[Finding]:
    if count > 0:
        headline = f"{count:,} more mistakes are not shown"
        yield Finding(
            "SPC040", headline, (At((), of_key=True),), help="mend those above first, or look whether this is a spec"
        )


def _finding(root: Mapping, group: list[Refusal]) -> Finding:
    first = group[0]
    if first.of_name:
        return _bad_name(root, first)
    if first.type == UNKNOWN:
        return _unknown_key(root, first)
    if first.type == MISSING:
        return _missing_key(root, first)
    if first.type == KIND:
        return _unknown_kind(root, first)
    if first.type.startswith("quantity"):
        return _bad_quantity(first)
    if first.type in _LIMITS:
        return _out_of_range(group)
    if first.type in _LENGTHS:
        return _wrong_length(root, first)
    if first.type == "string_pattern_mismatch":
        headline = f"{_name(first)} takes a word, not {_shown(first.node)}"
        return Finding("SPC004", headline, (At(first.path),), help=_allowed(first))
    return _wrong_type(root, group)


def _bad_name(root: Mapping, refusal: Refusal) -> Finding:
    name = language.noun(refusal.path, root)
    headline = f"`{_cut(str(refusal.path[-1]))}` is no name for {_article(name)}"
    return Finding("SPC004", headline, (At(refusal.path, of_key=True),), help=_allowed(refusal))


def _allowed(refusal: Refusal) -> str:
    """The words that a pattern or a limit on their length lets through."""
    if refusal.type == "string_too_long":
        return f"use at most {refusal.context['max_length']} characters"
    if refusal.type == "string_too_short":
        return f"use at least {refusal.context['min_length']} character"
    pattern = re.compile(refusal.context["pattern"])
    marks = [mark for mark in punctuation if pattern.search(f"a{mark}a")]
    starts = [word for word, first in (("a letter", "a"), ("a digit", "1")) if pattern.search(first)]
    if len(marks) == len(punctuation) or not starts:
        return f"it must match `{pattern.pattern}`"
    listed = _listed(["letters", "digits", *(f"`{mark}`" for mark in marks)], "and")
    anywhere = all(pattern.search(mark) for mark in marks)
    return f"use {listed}" + ("" if anywhere else f", and start with {' or '.join(starts)}")


def _unknown_key(root: Mapping, refusal: Refusal) -> Finding:
    key, path = refusal.key or "", refusal.path
    headline = f"{language.section_name(path, root)} has no key `{_cut(key)}`"
    at = (At((*path, key), of_key=True),)
    return Finding("SPC003", headline, at, help=_instead(root, refusal), remedy=_remedy(root, path, key))


def _instead(root: Mapping, refusal: Refusal) -> str:
    """What an unknown key was meant to be, or where it belongs."""
    key, path = refusal.key or "", refusal.path
    meant = "kind" if not language.keys(path, root) else language.meant(path, root, key)
    if meant is not None:
        return f"did you mean `{meant}`?"
    word = SYNONYMS.get(key, key)
    others = language.kinds(path, root, having=key)
    word = key if others else word
    others = others or language.kinds(path, root, having=word)
    if others:
        return f"`{word}` is a key of {'kind' if len(others) == 1 else 'kinds'} {_list(others)}"
    elsewhere = language.where(word, root, path)
    if elsewhere:
        return f"`{word}` belongs {elsewhere[0]}"
    near = language.nearest_key(path, root, key)
    return f"did you mean `{near}`?" if near else f"its keys are {_list(language.keys(path, root))}"


def _remedy(root: Mapping, path: Path, key: str) -> Remedy | None:
    """The remedy of an unknown key: the same order of guesses as in `_instead`."""
    meant = "kind" if not language.keys(path, root) else language.meant(path, root, key)
    if meant is not None:
        return rename_key(root, path, key, meant)
    if language.kinds(path, root, having=SYNONYMS.get(key, key)):
        return None
    if language.where(SYNONYMS.get(key, key), root, path):
        return move_key(root, path, key, _mistakes)
    near = language.nearest_key(path, root, key)
    return None if near is None else rename_key(root, path, key, near)


def _mistakes(root: Mapping) -> int:
    try:
        Spec.model_validate(to_data(root))
    except ValidationError as error:
        return error.error_count()
    return 0


def _missing_key(root: Mapping, refusal: Refusal) -> Finding:
    key = refusal.key or ""
    name = language.section_name(refusal.path, root)
    at = (At(refusal.path, of_key=True),)
    if key == "kind":
        return Finding("SPC005", f"{name} needs `kind`", at, help=_kinds(language.kinds(refusal.path, root)))
    meaning = language.describe((*refusal.path, key), root)
    return Finding("SPC005", f"{name} needs `{key}`", at, help=f"`{key}`: {meaning}" if meaning else None)


def _unknown_kind(root: Mapping, refusal: Refusal) -> Finding:
    kinds = language.kinds(refusal.path, root)
    name = language.noun(refusal.path, root)
    written = child(refusal.node, "kind") if refusal.node is not None else None
    at = (At((*refusal.path, "kind")),)
    if not isinstance(written, Scalar) or written.value is None:
        return Finding("SPC006", f"the {name} kind is a word, not {_shown(written)}", at, help=_kinds(kinds))
    near = nearest(written.text, kinds)
    help_text = f"did you mean `{near}`?" if near else _kinds(kinds)
    remedy = replace_word(at[0].path, written.text, near, kinds) if near else None
    return Finding("SPC006", f"no {name} kind `{_cut(written.text)}`", at, help=help_text, remedy=remedy)


def _kinds(kinds: list[str]) -> str:
    return f"its {'kinds are' if len(kinds) > 1 else 'kind is'} {_list(kinds)}"


def _bad_quantity(refusal: Refusal) -> Finding:
    key, shown, example = _name(refusal), _shown(refusal.node), refusal.context["example"]
    at = (At(refusal.path),)
    if refusal.type == "quantity_unit" and isinstance(refusal.node, Scalar):
        return _bad_unit(refusal, refusal.node)
    if refusal.type == "quantity_positive":
        return Finding("SPC007", f"{key} must be more than 0, not {shown}", at)
    if refusal.type == "quantity_range":
        return Finding("SPC007", f"{key} must be {refusal.context['limit']}, not {shown}", at)
    if refusal.type == "quantity_whole":
        return Finding("SPC007", f"{key} must be a whole number of {refusal.context['unit']}, not {shown}", at)
    return Finding("SPC004", f"{key} takes a quantity with its unit, not {shown}", at, help=f"such as `{example}`")


def _bad_unit(refusal: Refusal, node: Scalar) -> Finding:
    key, shown, units = _name(refusal), _shown(node), refusal.context["units"]
    at, example = (At(refusal.path),), refusal.context["example"]
    counted = [unit for unit in units if unit in _COUNTED]
    # `2T` says how many and not of what, as `2` does; a share or a time has no such prefixes.
    bare = isinstance(node.value, int | float) or (bool(counted) and _ABBREVIATED.fullmatch(node.text.strip()))
    if units == ("x",):
        help_text = f"write `{node.text.strip()}x`" if bare else f"such as `{example}`"
        headline = f"{key} is a multiple of the optimizer's, such as `{example}`, not {shown}"
        return Finding("SPC008", headline, at, help=help_text)
    could = " or ".join(units)
    if not bare:
        return Finding("SPC008", f"{key} is measured in {could}, not {shown}", at, help=f"such as `{example}`")
    tried = [f"`{node.text.strip()} {unit.removesuffix('s') if node.value == 1 else unit}`" for unit in counted]
    headline = f"{key} needs a unit" + (f": {shown} could be {could}" if len(units) > 1 else "")
    remedy = replace_value(refusal.path, tried[0].strip("`")) if len(units) == 1 and len(tried) == 1 else None
    return Finding("SPC008", headline, at, help=f"write {' or '.join(tried) or f'`{example}`'}", remedy=remedy)


def _out_of_range(group: list[Refusal]) -> Finding:
    first = group[0]
    limit, text = _LIMITS[first.type]
    words = [word for refusal in group[1:] for word in _expected(refusal)]
    must = " or ".join([text.format(_written(first.context[limit])), *words])
    return Finding("SPC007", f"{_name(first)} must be {must}, not {_shown(first.node)}", (At(first.path),))


def _wrong_length(root: Mapping, refusal: Refusal) -> Finding:
    name, at = _name(refusal), (At(refusal.path),)
    if refusal.type == "too_short" or refusal.type == "string_too_short":
        needs = "at least one " + ("character" if refusal.type.startswith("string") else "entry")
        return Finding("SPC004", f"{name} is empty: it needs {needs}", at, help=_meaning(root, refusal))
    if refusal.type == "string_too_long":
        most = refusal.context["max_length"]
        headline = f"{name} takes at most {most} characters, not {len(_text(refusal.node)):,}"
        return Finding("SPC004", headline, at, help=_meaning(root, refusal))
    length = language.length(refusal.path, root)
    takes = f"at most {refusal.context.get('max_length')}" if length is None else str(length)
    written = len(refusal.node.items) if isinstance(refusal.node, Sequence) else 0
    headline = f"{name} takes {takes} {'value' if takes.endswith(' 1') or takes == '1' else 'values'}, not {written}"
    return Finding("SPC004", headline, at, help=_meaning(root, refusal))


def _wrong_type(root: Mapping, group: list[Refusal]) -> Finding:
    first = group[0]
    takes = list(dict.fromkeys(word for refusal in group for word in _expected(refusal)))
    shown = _shown(first.node)
    words = [word.strip("`") for word in takes if word.startswith("`")]
    near = _BOOLEANS.get(shown.strip("`").lower()) if first.type == "bool_type" else nearest(shown.strip("`"), words)
    help_text = f"did you mean `{near}`?" if near else _meaning(root, first)
    headline = f"{_name(first)} takes {' or '.join(takes)}, not {shown}"
    remedy = None
    if near:
        is_word = first.type == "bool_type"
        remedy = (
            replace_value(first.path, near) if is_word else replace_word(first.path, _text(first.node), near, words)
        )
    return Finding("SPC004", headline, (At(first.path),), help=help_text, remedy=remedy)


def _expected(refusal: Refusal) -> list[str]:
    if refusal.type == "literal_error":
        words = str(refusal.context["expected"]).replace(" or ", ", ").split(", ")
        return [f"`{word.strip(chr(39))}`" for word in words]
    return [_TAKES.get(refusal.type, refusal.type.replace("_", " "))]


def _meaning(root: Mapping, refusal: Refusal) -> str | None:
    """What the key means that holds a value, or the list that it stands in."""
    path = refusal.path
    while path and isinstance(path[-1], int):
        path = path[:-1]
    meaning = language.describe(path, root)
    return f"`{path[-1]}`: {meaning}" if meaning else None


def _name(refusal: Refusal) -> str:
    """A value by its key, or as an item of one."""
    start = len(refusal.path) - 1
    while start > 0 and isinstance(refusal.path[start], int):
        start -= 1
    return language.name(refusal.path[start:]) if refusal.path else "a spec"


def _shown(node: Node | None) -> str:
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node is None or node.value is None:
        return "nothing"
    quoted = isinstance(node.value, str) and resolve(node.text) != node.value
    return f'`"{_cut(node.text)}"`' if quoted else f"`{_cut(node.text)}`"


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "..."


def _written(limit: object) -> str:
    return f"{limit:g}" if isinstance(limit, float) else f"{limit:,}"


def _list(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _listed(words: list[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
